#!/bin/bash
# The demonstration: a document in, thinking and a report out, and nothing left behind.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/scenario/suite.sh
. tests/scenario/suite.sh

document=$folder/document.md
cat >"$document" <<'TEXT'
# Access

Passwords are stored in plain text in the configuration file, and everybody who works on the service
can read it. The administration port has no authentication and is reachable from the internet.

# Backups

Backups are made every night and are not encrypted. They are copied to a machine in another building,
where they are kept for a month and restored once a year to see that they can be.
TEXT

# In a session of its own, by which whatever it might leave is found.
runs() {
    # shellcheck disable=SC2016
    TMPDIR=$folder/tmp setsid --wait bash -c 'echo $$ >"$1/session"; exec build/suite demo "$2" "$3"' \
        demo "$folder" "$bin" "$document" >"$folder/demo" 2>&1
}
shows() { grep -qiE "$1" "$folder/demo" || { cat "$folder/demo"; return 1; }; }
leaves_no_process() {
    local i
    for ((i = 0; i < 40; i++)); do # of a shell that is just ending
        pgrep -a -r D,R,S,T -s "$(cat "$folder/session")" || return 0
        sleep 0.05
    done
    return 1
}
leaves_no_file() { [ -z "$(ls -A "$folder/tmp")" ] || { ls -lAR "$folder/tmp"; return 1; }; }

mkdir "$folder/tmp"
ok "ends with 0" runs
ok "shows the thinking" shows thinking
ok "shows a report with a risk level" shows 'critical|high|medium|low'
ok "says that answers are simulated" shows simulated
ok "leaves no process" leaves_no_process
ok "leaves no file" leaves_no_file
plan
