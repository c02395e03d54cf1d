#!/bin/sh
# recipe.sh - MASSV on LLaVA's data as one Slurm job, from two checkpoints to a drafter: `sbatch --nodes=8 train/recipe.sh`. What was cut off
# goes on with the same command on as many nodes. All paths are on a file system of all nodes; docs/training.md has what it costs.
# Its losses are the paper's cross-entropy. The study measured longer drafts with DISTILL_FLAGS='--logprobs 20' TUNE_FLAGS='--loss kl'.
#SBATCH --job-name=massv
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=14-0
set -eu
: "${TARGET:=Qwen2.5-VL-7B-Instruct}" "${DRAFTER:=Qwen2.5-1.5B-Instruct}" "${OUT:=massv-7b}"
: "${PAIRS:=LLaVA-Pretrain/blip_laion_cc_sbu_558k.json}" "${PAIRS_IMAGES:=LLaVA-Pretrain/images}"
: "${TALKS:=llava_v1_5_mix665k.json}" "${TALKS_IMAGES:=playground/data}" "${QUESTIONS:=665298}"
: "${PORT:=50051}" "${PROJECT_FLAGS:=}" "${DISTILL_FLAGS:=}" "${TUNE_FLAGS:=}"

mkdir -p "$OUT"
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
started= # processes of the service
trap 'kill $started 2>/dev/null || :; wait' EXIT
trap 'exit 143' TERM INT

# fit COMMAND RUN ARGUMENT... - a run of training, one rank a node, which goes on where it was
fit() {
	command=$1 run=$OUT/$2
	shift 2
	[ ! -f "$run/state.safetensors" ] || set -- --resume "$@"
	mpirun -np "$(echo "$nodes" | wc -l)" --map-by ppr:1:node --bind-to none massv-train "$command" --target "$TARGET" --drafter "$DRAFTER" \
		--out "$run" --features "$OUT/features" --weights bf16 --recompute --checkpoint-seconds 1800 --on-error skip "$@"
	touch "$run/done"
}

# serve - the target with a worker group on each node; comes back when it answers
serve() {
	MASSV_GROUP_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
	export MASSV_GROUP_TOKEN
	massv-coordinator --target "$TARGET" --drafter "$DRAFTER" --listen "127.0.0.1:$PORT" --worker-listen "0.0.0.0:$((PORT + 1))" --max-requests 512 \
		--log-level warning &
	started=$!
	for node in $nodes; do
		mpirun -np 1 --host "$node" --bind-to none -x MASSV_GROUP_TOKEN massv-worker --target "$TARGET" --coordinator "$(hostname):$((PORT + 1))" &
		started="$started $!"
	done
	for _ in $(seq 360); do
		kill -0 $started || exit 1
		! massv generate --address "127.0.0.1:$PORT" --prompt "Hello" --max-tokens 1 >/dev/null 2>&1 || return 0
		sleep 5
	done
	echo "recipe.sh: no answer from the service in half an hour" >&2
	exit 1
}

[ -f "$OUT/phase1/done" ] || fit project phase1 --data "$PAIRS" --image-root "$PAIRS_IMAGES" $PROJECT_FLAGS
if [ ! -f "$OUT/answers.done" ]; then
	serve
	massv-train distill --address "127.0.0.1:$PORT" --data "$TALKS" --image-root "$TALKS_IMAGES" --out "$OUT/answers.jsonl" --limit "$QUESTIONS" \
		--temperatures 0,0.3,0.7,1 --top-p 0.95 --in-flight 512 --retry-seconds 600 --on-error skip $DISTILL_FLAGS
	kill $started
	wait
	started=
	touch "$OUT/answers.done"
fi
[ -f "$OUT/phase2/done" ] || fit tune phase2 --from "$OUT/phase1" --data "$OUT/answers.jsonl" $TUNE_FLAGS
[ -d "$OUT/drafter" ] || massv-train export --run "$OUT/phase2" --target "$TARGET" --drafter "$DRAFTER" --out "$OUT/drafter"
echo "$OUT/drafter: massv up --target $TARGET --drafter $OUT/drafter"
