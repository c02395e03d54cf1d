#!/bin/sh
# demo.sh - make demo: a service on two ranks answers questions about pictures, with MASSV's drafter, a text-only one and none; then a
# table of what drafting gave, with the check that it changed no token. Ends with status 1 where it did, or where a process is left.
set -eu
cd "$(dirname "$0")/.."
massv=${BUILD:-build}/bin/massv
target=models/scenes-large
pictures=models/pictures
ranks=2
drafts=5
threads=1 # per process: these models are so small that threads would mostly wait for each other
work=$(mktemp -d)
MASSV_DEMO=$work # in the environment of every process that the demo starts: by it they are found again
export MASSV_DEMO
up=

# Processes of this demo that still live, without this shell and its own pipes.
left() {
	for e in /proc/[0-9]*/environ; do
		pid=${e#/proc/}; pid=${pid%/environ}
		name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
		case "$name" in massv* | mpirun | orted) { tr '\0' '\n' <"$e"; } 2>/dev/null | grep -qx "MASSV_DEMO=$work" && echo "$name:$pid" ;; esac
	done
	return 0
}

service_stop() {
	[ -n "$up" ] || return 0
	kill -TERM "$up" 2>/dev/null || :
	wait "$up" || :
	up=
}

finish() {
	service_stop
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# service_start [--drafter DIR]: waits for the one line on stdout and leaves the address in $address.
service_start() {
	: >"$work/serving"
	"$massv" up --target "$target" --ranks $ranks --threads $threads --draft-tokens $drafts --listen 127.0.0.1:0 "$@" >"$work/serving" 2>"$work/log" &
	up=$!
	tries=0
	until grep -q '^serving ' "$work/serving"; do
		kill -0 "$up" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || { echo "demo: no service after two minutes:" >&2; cat "$work/log" >&2; exit 1; }
		sleep 0.1
	done
	address=$(sed 's/.* on //' "$work/serving")
}

# The questions, those of models/pictures/scenes.jsonl with long answers: picture, tab, prompt.
questions() {
	cat <<-'END'
	scene-00002.png	What can you see in this picture?
	scene-00001.png	Make a list of the things you see.
	scene-00008.png	Tell a short story about the picture.
	scene-00011.png	What can you see in this picture?
	scene-00015.png	Please describe this picture in detail.
	scene-00012.png	Tell a short story about the picture.
	scene-00018.png	List everything in the image.
	scene-00022.png	Please describe this picture in detail.
	END
}

# measure NAME: the answers to all questions, one JSON object a line, three times over. The first question is asked once more before: to
# warm up.
measure() {
	questions | head -n 1 | while IFS='	' read -r picture prompt; do
		"$massv" generate --address "$address" --image "$pictures/$picture" --prompt "$prompt" >/dev/null
	done
	for _ in 1 2 3; do questions; done | while IFS='	' read -r picture prompt; do
		"$massv" generate --address "$address" --image "$pictures/$picture" --prompt "$prompt" --temperature 0 --json
	done >"$work/$1.jsonl"
}

echo "Starting: massv up --target $target --drafter models/scenes-massv --ranks $ranks --threads $threads"
service_start --drafter models/scenes-massv
cat "$work/serving"
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	printf '\nIn the answers: \033[32maccepted draft\033[0m, the target'\''s own words, \033[2;9mrejected draft\033[0m.\n'
else
	printf '\nIn the answers: [accepted draft], the target'\''s own words, {rejected draft}.\n'
fi
questions | head -n 3 | while IFS='	' read -r picture prompt; do
	printf '\n%s: %s\n' "$pictures/$picture" "$prompt"
	"$massv" generate --address "$address" --image "$pictures/$picture" --prompt "$prompt" --temperature 0 --show-drafts 2>"$work/summary"
	printf '  (%s)\n' "$(cat "$work/summary")"
done
echo
echo "The same questions, and $(($(questions | wc -l) - 3)) more, with each drafter; $drafts drafts a step, greedy, best time of three."
measure massv
service_stop
service_start --drafter models/scenes-drafter
measure text
service_stop
service_start
measure none
service_stop

rest=$(left)
if [ -n "$rest" ]; then
	echo "demo: left behind: $rest" >&2
	exit 1
fi
python3 cli/demo_table.py 3 none="$work/none.jsonl" text="$work/text.jsonl" massv="$work/massv.jsonl"
echo "All processes have ended."
