#!/bin/sh
# man.sh WORD... - the man page of a command ("massv dump", "massv-worker") on stdout, made from its own --help: one text, two readers.
set -eu
program=$1; shift
name=$(basename "$program")${1:+-$*}
help=$(ARGP_HELP_FMT=rmargin=76 "$program" "$@" --help)
about=$(printf '%s\n' "$help" | sed -n '2,/^$/p' | tr '\n' ' ' | sed -e 's/^massv[a-z -]* - //' -e 's/[.] .*//' -e 's/[. ]*$//')
version=$("$(dirname "$program")/massv" --version | sed 's/.* //')
escape() { sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\&&/" -e 's/-/\\-/g'; }
name=$(printf '%s' "$name" | tr ' ' -)
printf '.TH "%s" 1 "" "massv %s" "massv"\n' "$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')" "$version"
printf '.SH NAME\n%s \\- %s\n' "$(printf '%s' "$name" | escape)" "$(printf '%s' "$about" | escape)"
printf '.SH DESCRIPTION\n.nf\n'
printf '%s\n' "$help" | escape
printf '.fi\n.SH EXIT STATUS\n0 done, 1 it failed (one line on stderr says why), 2 wrong usage.\n'
