#!/bin/bash
# `make torture': what finds more the longer it goes on, for HOURS (default 8: a night) in all.
#
# The parts, which are in test/torture/parts.sh, share that time by weight; what one does not need the others get.
# Each goes on, round after round, with other seeds and for longer, while another round fits into its share.  What
# still goes on at the end of its share hangs, and is ended.  Every part runs, whatever the others say; the last
# line counts what passed.
#
# PARTS has the names of those to run (default: all).  SEED, which is printed, is what all of them begin with.  A
# variable of the table (KILLS=1000) says how much its part does: in one round, for however long that takes.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=test/lib.sh
. test/lib.sh
parts=${TORTURE_PARTS:-test/torture/parts.sh}
out=${TORTURE_OUT:-test/.cache/torture}
seed=${SEED:-$(date +%s)000}
hours=${HOURS:-8}
time=$(LC_ALL=C awk -v hours="$hours" 'BEGIN { printf "%d", hours * 3600 }')
began=$SECONDS

# What `make' was told, or the user has in the environment, is for us: a part gets what its round says, and no more.
ours=(HOURS PARTS SEED SEEDS FIRST ENOUGH FUZZ FUZZ_FIRST FUZZ_CASE LISP_FUZZ KILLS PROGRAMS SYNCS ACTIONS ROUNDS STARTS
    RESTARTS QUITS PLANTED KEEP CONTROL OUT DAY ERT_SELECTOR ERT_TIMEOUT MODULE_ASSERTIONS MAKEFLAGS MAKEOVERRIDES
    MFLAGS MAKELEVEL)
cleared=()
for variable in "${ours[@]}"; do cleared+=(-u "$variable"); done

# bounded SECONDS ARGUMENT...: call the script of parts.
bounded() {
    local seconds=$1
    shift
    env "${cleared[@]}" test/torture/bounded.py "$seconds" "$parts" "$@" >>"$out/$name.log" 2>&1
}

# What was printed at the end, since line $1, and how to have it again.
failure() {
    tail -n "+$1" "$out/$name.log" | tail -n 300
    echo "all of it: $out/$name.log"
    echo "again: make torture PARTS=$name SEED=$2$([ "$variable" = - ] || echo " $variable=$3")"
}

# Build one part, and run it round after round: $1 is its share, $2 how much it does.
rounds() {
    local share=$1 count=$2 end=$((SECONDS + $1)) did=0 rounds=0 shortest=0 given='' line=1 start took left more times
    [ "$variable" = - ] || given=${!variable:-}
    [ -z "$given" ] || share=0 count=$given
    : >"$out/$name.log"
    bounded "$share" "$name" || { failure 1 "$seed" "$count"; return 1; }
    while :; do
        line=$(($(wc -l <"$out/$name.log") + 1))
        left=$((end - SECONDS)) start=$SECONDS
        [ "$left" -gt 0 ] || left=1
        [ -z "$given" ] || left=0
        bounded "$left" "$name" "$count" $((seed + did)) || { failure "$line" $((seed + did)) "$count"; return 1; }
        # What is counted, and what was left out.
        tail -n "+$line" "$out/$name.log" | grep -E '^(Ran |test result: |[0-9]+ passed, |skip  )' || true
        did=$((did + count)) rounds=$((rounds + 1))
        took=$((SECONDS - start > 0 ? SECONDS - start : 1))
        if [ "$rounds" -eq 1 ] || [ "$took" -lt "$shortest" ]; then shortest=$took; fi
        # Another one shall take half of what is left at most, so that only what hangs meets the end.  It does up to
        # four times as much as the last one, as if that took sixteen times as long: some of it may be slow for much.
        left=$((end - SECONDS))
        if [ "$weight" -eq 0 ] || [ -n "$given" ] || [ "$left" -lt $((2 * shortest)) ]; then break; fi
        more=$((count * left / 2 / took))
        for times in 1 2 3 4; do
            if [ "$left" -ge $((2 * took * times * times)) ]; then more=$((count * times)); fi
        done
        [ "$more" -le "$most" ] || more=$most
        count=$((more > least_count ? more : least_count))
    done
    if [ "$weight" -gt 0 ]; then echo "did   $rounds rounds, $did in all, SEED=$seed"; fi
}

# The rows of the parts that are wanted, in the order of the table.
mapfile -t rows < <("$parts" | grep -v '^#')
wanted=()
for row in "${rows[@]}"; do
    read -r name _ <<<"$row"
    case " ${PARTS:-$name} " in *" $name "*) wanted+=("$row") ;; esac
done
for name in ${PARTS:-}; do
    printf '%s\n' "${rows[@]}" | cut -d ' ' -f 1 | grep -qxF -e "$name" || {
        echo "torture has no part \"$name\", but these:" "$(printf '%s\n' "${rows[@]}" | cut -d ' ' -f 1 | xargs)"
        exit 2
    }
done
needs=0 weights=0
for row in "${wanted[@]}"; do
    read -r _ least weight _ <<<"$row"
    needs=$((needs + least)) weights=$((weights + weight))
done
if [ "$time" -lt "$needs" ]; then
    LC_ALL=C awk -v hours="$hours" -v needs="$needs" 'BEGIN {
        printf "HOURS=%s is too short: one round of each of these may take %.1f hours in all.\n", hours, needs / 3600 }'
    echo 'Give more, or choose some of them with PARTS="kills sim".'
    exit 2
fi
mkdir -p "$out"
# What runs is in the background, where C-c is not heard.
# shellcheck disable=SC2046
trap 'kill $(jobs -p) 2>/dev/null || true; wait; exit 130' INT TERM HUP
echo "HOURS=$hours SEED=$seed, what is printed goes to $out"
for row in "${wanted[@]}"; do
    # shellcheck disable=SC2034
    read -r name least weight least_count most variable <<<"$row"
    spare=$((time - (SECONDS - began) - needs))
    [ "$spare" -gt 0 ] || spare=0
    if [ "$weight" -gt 0 ]; then
        share=$((least + spare * weight / weights))
    else
        share=$((spare < 2 * least ? least + spare : 3 * least))
    fi
    needs=$((needs - least)) weights=$((weights - weight))
    printf '      for up to %d s: %s\n' "$share" "$name"
    check "$name" rounds "$share" "$least_count"
done
echo "in $((SECONDS - began)) s"
summary
