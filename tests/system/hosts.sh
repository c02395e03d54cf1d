#!/bin/sh
# hosts.sh - network namespaces as hosts, for tests that want several machines (needs root)
#   up N | down               hosts 1..N on one bridge, each with an eth0 of its own; down ends what still runs on them
#   exec I COMMAND ARG...     runs a command on host I, under that host's name
#   rsh HOSTNAME COMMAND      the same for mpirun, in place of ssh: --mca plm_rsh_agent "hosts.sh rsh"
#   cut I J | heal I J        a black hole between two hosts: packets vanish both ways and nobody gets an error
# Host I is called NET-hI, as is its namespace, where NET is $MASSV_NET ("massv"); several nets can stand side by side. Addresses
# are 10.231.0.I. Bridge and links live in namespaces too (NET-lan): nothing can be seen or collide outside of them.
set -e
net=${MASSV_NET:-massv}
address() { echo "10.231.0.$1"; }
mac() { printf '02:00:00:e7:00:%02x' "$1"; }
names() { ip netns list | awk -v net="$net" '$1 ~ "^" net "-(h[0-9]+|lan)$" { print $1 }'; }

up() {
	ip netns add "$net-lan"
	ip -n "$net-lan" link add lan type bridge
	ip -n "$net-lan" link set lan up
	for i in $(seq "$1"); do
		host=$net-h$i
		ip netns add "$host"
		ip -n "$net-lan" link add "port$i" type veth peer name eth0 address "$(mac "$i")" netns "$host"
		ip -n "$net-lan" link set "port$i" master lan up
		ip -n "$host" address add "$(address "$i")/24" dev eth0
		ip -n "$host" link set eth0 up
		ip -n "$host" link set lo up
		mkdir -p "/etc/netns/$host"
		{
			echo 127.0.0.1 localhost
			for j in $(seq "$1"); do echo "$(address "$j") $net-h$j"; done
		} >"/etc/netns/$host/hosts"
	done
}

down() {
	for name in $(names); do
		for pid in $(ip netns pids "$name"); do kill -9 "$pid" 2>/dev/null || :; done
		ip netns delete "$name"
		rm -rf "/etc/netns/$name"
	done
}

# The other host's address leads to this MAC, on both hosts.
neighbours() {
	ip -n "$net-h$1" neighbour replace "$(address "$2")" lladdr "$4" dev eth0 nud permanent
	ip -n "$net-h$2" neighbour replace "$(address "$1")" lladdr "$3" dev eth0 nud permanent
}

on_host() {
	host=$1
	shift
	exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0" && exec "$@"' "$host" "$@"
}

command=$1
[ $# -gt 0 ] && shift
case $command in
up) up "$1" && "$0" exec 1 true || { down; exit 1; } ;; # some places make namespaces but run nothing in them
down) down ;;
exec) host=$net-h$1; shift; on_host "$host" "$@" ;;
rsh) host=$1; shift; on_host "$host" sh -c "$*" ;;
cut) neighbours "$1" "$2" 02:00:00:00:00:99 02:00:00:00:00:99 ;;
heal) neighbours "$1" "$2" "$(mac "$1")" "$(mac "$2")" ;;
*) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
esac
