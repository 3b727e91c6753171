#!/bin/bash
# What a living room does to the service: trials of the Debian package on a running machine.
#
#   trials.sh FOLDER TRIAL…        as root; FOLDER holds gazed.deb and newer.deb
#
# `cargo xtask pi` runs all of them in the virtual Pi. On a real one use a card that you can spare: the
# trials set the clock, fill the disk and purge the package with its profiles.
set -uo pipefail

here=${1:?usage: trials.sh FOLDER TRIAL…}
shift
socket=/run/gazed/gazed.sock
# In memory: the disk will be full.
seen=/run/seen.jsonl
profiles=/var/lib/private/gazed
subscriber=

say() { echo "  $*"; }
fail() {
    echo "FAILED: $*"
    systemctl status gazed --no-pager --lines 20
    exit 1
}
must() { "$@" > /run/said 2>&1 || fail "$*: $(cat /run/said)"; }

# Waits until a condition holds: within SECONDS CONDITION. An emulated machine on a busy one wants more patience.
within() {
    local deadline=$((SECONDS + $1 * ${PATIENCE:-1}))
    until eval "$2" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "not within $1 s: $2"
        sleep 0.2
    done
}

# What systemd knows of the service.
of_service() { systemctl show gazed --property "$1" --value; }
is_active() { [ "$(of_service ActiveState)" = active ]; }

# Somebody else's session, subscribed to all records.
subscribe() {
    : > "$seen"
    chmod 666 "$seen"
    runuser --login anna --command "exec gazed watch --json --wait --socket $socket" > "$seen" 2> /run/watch.log &
    subscriber=$!
}
unsubscribe() {
    pkill -u anna -x gazed
    wait "$subscriber" 2> /dev/null
    subscriber=
}
n_samples() { grep -c '"type":"sample"' "$seen"; }
# Further samples reach the subscriber: samples NUMBER SECONDS.
samples() {
    local from
    from=$(n_samples)
    within "$2" "[ \$(n_samples) -ge $((from + $1)) ]"
}
# The journal's messages of the service since a moment.
said_since() { journalctl --unit gazed --since "@$1" --output cat --no-pager; }
marks_of_profiles() { find "$profiles" -type f -exec sha256sum {} + | sort; }

# Installed, the service comes up by itself and says when it is ready.
install() {
    useradd --create-home anna && useradd --create-home ben
    list_files > /var/tmp/files.before
    must dpkg --install "$here/gazed.deb"
    within 60 is_active
    [ "$(of_service Type)" = notify ] || fail "the service does not say when it is ready"
    systemctl --quiet is-enabled gazed || fail "the service would not start with the machine"
    usermod --append --groups gaze anna
    say "active by itself: Type=$(of_service Type)"
    say "socket: $(stat --format '%A %U:%G' "$socket")"
    say "$(journalctl --unit gazed --output cat --no-pager | grep reading)"
}

# A member of the group gets samples in a session of their own, anybody else is refused.
subscriber() {
    subscribe
    samples 20 60
    say "$(head -n 1 "$seen" | cut -c 1-150)"
    say "anna has $(n_samples) samples"
    unsubscribe
    if runuser --login ben --command "gazed watch --json --socket $socket" > /run/said 2>&1; then
        fail "ben is not in the group gaze and was let in"
    fi
    say "ben: $(cat /run/said)"
    say "memory with one subscriber: $(awk '/VmRSS/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$(of_service MainPID)/status"), peak $(awk '/VmHWM/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$(of_service MainPID)/status")"
}

# Each pixel format that the camera has, asked for by name.
formats() {
    cp /etc/gazed/gazed.toml /var/tmp/gazed.toml
    for format in grey yuyv uyvy nv12 rgb24 mjpeg; do
        sed "s/^#: format = .*/format = \"$format\"/" /var/tmp/gazed.toml > /etc/gazed/gazed.toml
        local from
        from=$(date +%s)
        must systemctl restart gazed
        # The camera may rest until somebody wants its pictures.
        subscribe
        within 60 "said_since $from | grep -q -E 'reading|trying again'"
        if said_since "$from" | grep -q "trying again"; then
            say "$format: $(said_since "$from" | grep "trying again")"
        else
            samples 5 60
            say "$format: $(said_since "$from" | grep reading)"
        fi
        unsubscribe
    done
    cp /var/tmp/gazed.toml /etc/gazed/gazed.toml
    must systemctl restart gazed
}

# The camera goes and comes back, driver and module with it.
camera() {
    local device driver module restarts
    restarts=$(of_service NRestarts)
    device=$(readlink -f /sys/class/video4linux/video0/device)
    driver=$(readlink -f "$device/driver")
    module=$(basename "$(readlink -f "$driver/module")")
    subscribe
    samples 5 60
    for n in $(seq 20); do
        local from
        from=$(date +%s)
        basename "$device" > "$driver/unbind"
        within 20 "said_since $from | grep -q 'trying again'"
        within 20 "modprobe --remove $module"
        [ ! -e /dev/video0 ] || fail "the camera is still there"
        must modprobe "$module"
        samples 3 30
        say "removed and returned $n times"
    done
    [ "$(of_service NRestarts)" = "$restarts" ] || fail "the service was restarted"
    say "$module was removed and returned 20 times: $(n_samples) samples, $(grep -c '"type":"gap"' "$seen") gaps, no restart"
    unsubscribe
}

# The machine's clock jumps an hour; what is measured does not.
clock() {
    local restarts
    restarts=$(of_service NRestarts)
    subscribe
    samples 5 60
    for jump in 3600 -3600; do
        date --set "@$(($(date +%s) + jump))" > /dev/null
        # Longer than the watchdog is patient.
        samples 5 30
        local until=$((SECONDS + 25))
        within 40 "[ $until -le \$SECONDS ]"
        samples 5 30
    done
    [ "$(of_service NRestarts)" = "$restarts" ] || fail "the service was restarted"
    unsubscribe
    # Times of capture, s: they rise, and by less than two.
    grep '"type":"sample"' "$seen" | sed 's/.*"t_us":\([0-9]*\).*/\1/' |
        awk 'NR > 1 && ($1 <= last || $1 > last + 2e6) { bad = 1; print "from " last " to " $1 } { last = $1 }
            END { print "  " NR " samples over " last / 1e6 " s of capture time, each later than the one before"; exit bad }' ||
        fail "the stream's time jumped"
}

# No room for anything: gaze goes on, who wants to write is told, nothing is lost.
disk() {
    local before
    before=$(marks_of_profiles)
    subscribe
    samples 5 60
    # To the last byte, and what the filling itself frees.
    for size in 1M 4k 1; do dd if=/dev/zero of="/var/fill.$size" bs="$size" status=none 2> /dev/null; done
    say "free: $(df --output=avail --block-size=1 / | tail -n 1) bytes"
    if runuser --login anna --command "timeout 60 gazed record full --socket $socket" > /run/said 2>&1; then
        fail "a recording on a full disk was said to be good"
    fi
    say "gazed record: $(tail -n 1 /run/said)"
    if gazed users default nobody --state "$profiles" > /run/said 2>&1; then
        fail "a profile that is not there became the default"
    fi
    local pid
    pid=$(of_service MainPID)
    systemctl restart gazed || fail "the service does not start on a full disk"
    within 60 is_active
    [ "$(of_service MainPID)" != "$pid" ] || fail "it is the same process"
    rm -f /var/fill.*
    samples 5 60
    [ "$(marks_of_profiles)" = "$before" ] || fail "a profile has changed"
    say "restarted on the full disk; profiles are as they were"
    unsubscribe
}

# A profile, made elsewhere (an emulated machine is too slow for a session): the service uses it.
profile() {
    gazed users import "$here/anna.toml" --state "$profiles" > /run/said 2>&1 || fail "$(cat /run/said)"
    gazed users default anna --state "$profiles" > /run/said 2>&1 || fail "$(cat /run/said)"
    say "$(find "$profiles" -type f -exec stat --format '%A %u %n' {} +)"
    must systemctl restart gazed
    subscribe
    samples 5 60
    grep -q '"user":"anna"' "$seen" || fail "the profile is not in use: $(head -n 1 "$seen" | cut -c 1-400)"
    say "$(gazed users list --state "$profiles")"
    unsubscribe
}

# Killed 50 times at random moments: it is back each time, with its profile.
kills() {
    local before
    before=$(marks_of_profiles)
    RANDOM=7
    for n in $(seq 50); do
        within 60 "is_active && [ \$(of_service MainPID) != 0 ]"
        local pid
        pid=$(of_service MainPID)
        # From the first moments of a start to some seconds of work.
        sleep "$((RANDOM % 3)).$((RANDOM % 10))"
        kill -KILL "$pid" 2> /dev/null || systemctl kill --signal KILL gazed
        within 60 "is_active && [ \$(of_service MainPID) != $pid ]"
        [ $((n % 5)) -ne 0 ] || say "killed $n times"
    done
    subscribe
    samples 5 60
    unsubscribe
    [ "$(marks_of_profiles)" = "$before" ] || fail "a profile has changed"
    say "killed 50 times: $(of_service NRestarts) restarts in all, samples again, profiles as they were"
}

# One thread stands still: the watchdog sees it. Its next call of the system is held by a debugger for ten minutes.
watchdog() {
    # A daemon that nobody listens to may rest, and stands still by right.
    subscribe
    for thread in gaze-vision gaze-server; do
        local restarts pid task from tracer
        restarts=$(of_service NRestarts)
        pid=$(of_service MainPID)
        samples 3 60
        from=$(date +%s)
        for task in "/proc/$pid/task/"*; do
            [ "$(cat "$task/comm")" = "$thread" ] && break
        done
        strace --output /dev/null --attach "$(basename "$task")" --inject all:delay_enter=600000000 2> /dev/null &
        tracer=$!
        local began=$SECONDS
        within 90 "said_since $from | grep -q -i watchdog"
        # The debugger would hold the thread beyond its death.
        kill -KILL "$tracer"
        wait "$tracer" 2> /dev/null
        within 60 "is_active && [ \$(of_service NRestarts) -gt $restarts ]"
        say "$thread held: restarted after $((SECONDS - began)) s: $(said_since "$from" | grep -i -m 1 watchdog)"
    done
    samples 5 60
    unsubscribe
}

# A newer package, and back: profiles and settings stay, the service runs the new program.
upgrade() {
    local before pid
    before=$(marks_of_profiles)
    echo '# mine' >> /etc/gazed/gazed.toml
    for package in newer gazed; do
        pid=$(of_service MainPID)
        must dpkg --force-downgrade --install "$here/$package.deb"
        within 60 is_active
        [ "$(of_service MainPID)" != "$pid" ] || fail "the old program still runs"
        [ "$(marks_of_profiles)" = "$before" ] || fail "a profile has changed"
        grep -q '^# mine' /etc/gazed/gazed.toml || fail "the settings were overwritten"
        subscribe
        samples 5 60
        grep -q '"user":"anna"' "$seen" || fail "the profile is not in use"
        unsubscribe
        say "$(dpkg-query --show gazed): anna's profile in use"
    done
    # Who has switched it off wants it off after an upgrade too.
    must systemctl disable --now gazed
    must dpkg --install "$here/newer.deb"
    is_active && fail "the upgrade started a service that was switched off"
    systemctl --quiet is-enabled gazed && fail "the upgrade switched the service on"
    must dpkg --force-downgrade --install "$here/gazed.deb"
    must systemctl enable --now gazed
    within 60 is_active
}

# After a start of the machine that nobody helped.
started() {
    within 120 is_active
    subscribe
    samples 5 60
    grep -q '"user":"anna"' "$seen" || fail "the profile is not in use"
    unsubscribe
    say "up $(cut -d . -f 1 /proc/uptime) s, service active, anna's profile in use"
}

# A recording that the power's end cuts off; started by the one who cuts it.
recording() {
    runuser --login anna --command "nohup gazed record cut --acknowledge --socket $socket > acknowledged 2>&1 &"
    within 60 "[ \$(tail -n 1 ~anna/acknowledged | tr -dc 0-9) -ge 20 ]"
    say "records that are said to be safe: $(tail -n 1 ~anna/acknowledged)"
}
recorded() {
    local safe kept
    safe=$(tail -n 1 ~anna/acknowledged | tr -dc 0-9)
    kept=$(runuser --login anna --command "gazed replay cut --out -" | wc -l)
    [ "$kept" -ge "$safe" ] || fail "$kept records of $safe that were said to be safe"
    say "$kept records were read again; $safe were said to be safe"
}

# Every file of the system, without what changes by itself.
list_files() {
    find /etc /usr /var /opt /srv /root /home -xdev \
        -not -path '/var/log/*' -not -path '/var/tmp/*' -not -path '/var/cache/*' -not -path '/var/lib/dpkg/*' \
        -not -path '/var/lib/systemd/*' -not -path '/home/anna/*' -not -name '*-' | sort
    sed 's/^/group /' /etc/group
}

# Removed, it keeps what is a person's; purged with the asking, nothing is left.
removal() {
    local before
    before=$(marks_of_profiles)
    must dpkg --remove gazed
    [ ! -e /usr/bin/gazed ] || fail "the program is still there"
    [ ! -e /run/gazed ] || fail "the service still runs"
    [ -e /etc/gazed/gazed.toml ] || fail "the settings are gone"
    must dpkg --purge gazed
    say "$(grep profiles /run/said)"
    [ "$(marks_of_profiles)" = "$before" ] || fail "a profile has changed"
    must dpkg --install "$here/gazed.deb"
    within 60 is_active
    subscribe
    samples 5 60
    grep -q '"user":"anna"' "$seen" || fail "the profile was not found again"
    unsubscribe
    gpasswd --delete anna gaze > /dev/null 2>&1
    must env GAZED_PURGE_STATE=yes dpkg --purge gazed
    list_files > /var/tmp/files.after
    diff /var/tmp/files.before /var/tmp/files.after || fail "purge leaves these behind"
    systemctl list-units --all --no-legend 'gazed*' | grep . && fail "systemd still knows the unit"
    say "purged with its profiles: every file and group is as before"
}

for trial; do
    echo "== $trial"
    "$trial"
    echo "ok $trial"
done
