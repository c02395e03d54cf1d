# massv.bash - bash completion: commands and flags as `massv --help` and `massv COMMAND --help` list them
_massv()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=() i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in -*) break ;; esac
        words+=("${COMP_WORDS[i]}")
    done
    case $before in
    --target | --drafter | --model | --with) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    --image | --out | --data) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
    esac
    local help
    help=$("${COMP_WORDS[0]}" "${words[@]}" --help 2>/dev/null) || return
    if [[ $word != -* && $help == *$'\nCommands:\n'* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' <<<"$help")" -- "$word")
    elif [[ $word != -* && ${words[0]} == inspect ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$(grep -o -- '--[a-z][a-z-]*' <<<"$help" | sort -u)" -- "$word")
    fi
}
complete -o filenames -F _massv massv massv-train
