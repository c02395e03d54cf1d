#!/bin/sh
# certificates.sh DIR - throw-away certificates for the tests: ca.pem signs server.pem (of 127.0.0.1 and localhost) and client.pem; other-ca.pem,
# whom nobody trusts, signs other.pem; keys stand beside them as NAME.key
set -e
cd "$1"
key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2>/dev/null || openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
authority() {
	key "$1"
	openssl req -x509 -new -key "$1.key" -days 2 -subj "/CN=massv test $1" -out "$1.pem"
}
signed() { # NAME AUTHORITY
	key "$1"
	echo "subjectAltName=IP:127.0.0.1,DNS:localhost" >"$1.ext"
	openssl req -new -key "$1.key" -subj "/CN=massv test $1" |
		openssl x509 -req -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
}
authority ca
authority other-ca
signed server ca
signed client ca
signed other other-ca
