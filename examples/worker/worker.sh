#!/bin/sh
# worker: an app without an address, as those that take jobs from a queue are.
# Nothing special is asked of it: write to stdout, end on SIGTERM.
set -eu

trap 'stop=1' TERM INT
stop=
jobs=0
echo "worker: instance ${ROOST_INSTANCE:-none} starts, a job every ${INTERVAL:=5} seconds"

while [ -z "$stop" ]; do
	jobs=$((jobs + 1))
	echo "worker: job $jobs is done"
	# A signal ends wait at once; sleep in the foreground would have to end first.
	sleep "$INTERVAL" &
	wait $! || true
done

kill $! 2>/dev/null || true
echo "worker: stopping after $jobs jobs"
