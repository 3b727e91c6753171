#!/bin/bash
# What a living room does to the service: trials of the Debian package on a running machine.
#
#   trials.sh FOLDER TRIAL…        as root; FOLDER holds gazed.deb, newer.deb and gazed-gpio with its unit
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
    systemctl status 'gazed*' --no-pager --full --lines 20
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
# A moment in the journal, and the service's messages after it. Not a time: the clock is set in between.
moment() { journalctl --lines 1 --quiet --show-cursor --output cat | sed -n 's/^-- cursor: //p'; }
said_since() { journalctl --unit gazed --after-cursor "$1" --output cat --no-pager; }
# Other settings for a while: settings < FILE, then own_settings.
settings() {
    [ -e /var/tmp/gazed.toml ] || cp /etc/gazed/gazed.toml /var/tmp/gazed.toml
    cat > /etc/gazed/gazed.toml
    must systemctl restart gazed
}
own_settings() {
    mv /var/tmp/gazed.toml /etc/gazed/gazed.toml
    must systemctl restart gazed
}
# Says lines to the daemon and stays connected, printing what comes: to be run in the background.
tell() {
    exec perl -MIO::Socket::UNIX -e '
        my $daemon = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!\n";
        $| = 1;
        print $daemon "$_\n" for @ARGV[1 .. $#ARGV];
        print while <$daemon>;' "$socket" "$@"
}
# What the service has resident now, and had at most.
memory() {
    awk '/VmRSS/ { now = $2 } /VmHWM/ { most = $2 } END { printf "%.1f MiB, at most %.1f", now / 1024, most / 1024 }' \
        "/proc/$(of_service MainPID)/status"
}
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
    say "memory with one subscriber: $(memory)"
}

# Each pixel format that the camera has, asked for by name.
formats() {
    cp /etc/gazed/gazed.toml /var/tmp/gazed.toml
    for format in grey yuyv uyvy nv12 rgb24 mjpeg; do
        sed "s/^#: format = .*/format = \"$format\"/" /var/tmp/gazed.toml > /etc/gazed/gazed.toml
        local from
        from=$(moment)
        must systemctl restart gazed
        # The camera may rest until somebody wants its pictures.
        subscribe
        within 60 "said_since '$from' | grep -q -E 'reading|trying again'"
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
        from=$(moment)
        basename "$device" > "$driver/unbind"
        within 20 "said_since '$from' | grep -q 'trying again'"
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

# Nobody listens and the camera goes off; somebody does, and it is on again. The time is from asking to the first sample.
waking() {
    local n from asker asked first took took_all=
    from=$(moment)
    settings << 'SETTINGS'
[power]
idle_after_s = 1
SETTINGS
    for n in $(seq 10); do
        within 60 "said_since '$from' | grep -q 'the camera is off until'"
        from=$(moment)
        # Connected already, and asks when told to: its own start does not count.
        coproc ASK { perl -MIO::Socket::UNIX -e '
            my $daemon = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!\n";
            $| = 1;
            print "connected\n";
            <STDIN>;
            print $daemon "{\"type\":\"subscribe\",\"types\":[\"sample\"]}\n";
            while (<$daemon>) { next unless /"type":"sample"/; print; last }
            <STDIN>' "$socket"; }
        asker=$ASK_PID
        read -r -t 60 first <&"${ASK[0]}" || fail "the daemon takes no client"
        asked=$EPOCHREALTIME
        echo >&"${ASK[1]}"
        read -r -t 60 first <&"${ASK[0]}" || fail "no sample after a rest"
        took=$(((${EPOCHREALTIME/./} - ${asked/./}) / 1000))
        took_all+="$took $(sed 's/.*"latency_us":\([0-9]*\).*/\1/' <<< "$first")"$'\n'
        echo >&"${ASK[1]}"
        wait "$asker" 2> /dev/null
    done
    say "from subscribing to the first sample, of which from exposure to sample, ms:"
    say "$(awk 'NF { printf "%d (%d)  ", $1, $2 / 1000 }' <<< "$took_all")"
    own_settings
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

# gazed-gpio on the machine's own GPIO chip: what its lines do, as the kernel saw it.
pins() {
    local chip=/dev/gpiochip0 trace=/sys/kernel/tracing
    local lamp switch changes
    mountpoint -q /sys/kernel/debug || must mount -t debugfs debugfs /sys/kernel/debug
    mountpoint -q $trace || must mount -t tracefs tracefs $trace
    cp "$here/gazed-gpio" /usr/bin/gazed-gpio
    cp "$here/gazed-gpio.service" /etc/systemd/system/gazed-gpio.service
    if grep -q pl061 /sys/kernel/debug/gpio; then
        # The virtual Pi's chip: eight lines, and no group as Raspberry Pi OS has it.
        say "$(grep pl061 /sys/kernel/debug/gpio)"
        mkdir -p /etc/systemd/system/gazed-gpio.service.d
        cat > /etc/systemd/system/gazed-gpio.service.d/lines.conf << 'UNIT'
[Service]
ExecStart=
ExecStart=/usr/bin/gazed-gpio --switch 0 --lamp 1 --group dialout
ExecStopPost=
ExecStopPost=/usr/bin/gazed-gpio --switch 0 --lamp 1 --off
UNIT
        must groupadd --system gpio
        must chown root:gpio $chip
        must chmod 660 $chip
    fi
    must systemctl daemon-reload
    must systemctl start gazed-gpio
    lamp=$(line_of lamp) switch=$(line_of switch)
    say "the kernel's lines: $(grep -o 'gazed [a-z]* *) out [hilo]*' /sys/kernel/debug/gpio | tr -s ' \n' ' ')"
    echo 1 > $trace/events/gpio/gpio_value/enable

    # By hand: gazed's own test of a board.
    echo > $trace/trace
    gazed board test --port /run/gazed-gpio/board > /run/said 2>&1 || fail "gazed board test: $(cat /run/said)"
    changes=$(changes_of "$lamp" "$switch" | awk '{ printf "%s%s %s", comma, $2, $3; comma = ", " }')
    say "gazed board test: $(grep -c '^ok' /run/said) steps; the lines: $changes"
    [ "$changes" = "lamp on, lamp off, switch on, switch off, lamp on, lamp off" ] || fail "these are not the changes"

    # By looking: an object that is larger than the screen. Then what must put the lamp out.
    settings << 'SETTINGS'
[source]
source = "synthetic:1"
[events.blink]
longest_frame_interval_ms = 2000
# An emulated processor may give less than a sample a second, and an old one is no word of a look.
[objects]
absent_after_ms = 5000
[board]
port = "/run/gazed-gpio/board"
silence_ms = 5000
[board.lamp]
object = "all"
dwell_ms = 100
hold_ms = 10000
SETTINGS
    local scene='{"type":"scene","scene_id":"s","width_px":100,"height_px":100,"objects":[{"id":"all","box":[-200,-200,500,500]}]}'
    local what pid teller
    for what in "gazed stands still" "gazed is killed" "gazed-gpio is killed" "gazed-gpio stands still"; do
        within 60 is_active
        within 60 "[ -e /run/gazed-gpio/board ]"
        tell "$scene" '{"type":"subscribe","types":["sample","object_enter","object_leave"]}' > /run/told 2>&1 &
        teller=$!
        within 120 "grep -q object_enter /run/told"
        within 120 "[ \$(level_of lamp) = hi ]"
        pid=$(systemctl show "${what%% *}" --property MainPID --value)
        echo > $trace/trace
        echo "$what" > $trace/trace_marker
        case $what in
            *still) kill -STOP "$pid" ;;
            *killed) kill -KILL "$pid" ;;
        esac
        within 20 "changes_of $lamp $switch | grep -q 'lamp off'"
        say "$what: $(changes_of "$lamp" "$switch" | awk '
            $2 == "began" { began = $1 }
            $3 == "off" { printf "the lamp is off %.0f ms later\n", ($1 - began) * 1000; exit }')"
        kill -CONT "$pid" 2> /dev/null
        kill "$teller" 2> /dev/null
        wait "$teller" 2> /dev/null
    done
    own_settings
    must systemctl stop gazed-gpio
    echo 0 > $trace/events/gpio/gpio_value/enable
    rm -rf /usr/bin/gazed-gpio /etc/systemd/system/gazed-gpio.service /etc/systemd/system/gazed-gpio.service.d
    must systemctl daemon-reload
    ! grep -q pl061 /sys/kernel/debug/gpio || must groupdel gpio
}
# The kernel's number of a line that gazed-gpio has, and what is on it.
line_of() { sed -n "s/^ gpio-\([0-9]*\) .*|gazed $1 .*/\1/p" /sys/kernel/debug/gpio; }
level_of() { grep -o "|gazed $1 .*" /sys/kernel/debug/gpio | awk '{ print $5 }'; }
# The kernel's trace as `SECONDS lamp on`; settings to what a line is already are left out.
changes_of() {
    awk -v lamp="$1" -v contact="$2" '
        { match($0, /[0-9]+\.[0-9]+: /); at = substr($0, RSTART, RLENGTH - 2) }
        /tracing_mark_write: / { print at, "began"; is_on["lamp"] = 1 }
        /gpio_value: / {
            name = $(NF - 2) == lamp ? "lamp" : $(NF - 2) == contact ? "switch" : ""
            if (name != "" && $NF != is_on[name] + 0) { is_on[name] = $NF; print at, name, $NF ? "on" : "off" }
        }' /sys/kernel/tracing/trace
}

# The gaze as a mouse: what comes out of the kernel's device is what the stream says.
pointer() {
    must modprobe uinput
    must udevadm trigger --settle --name-match=uinput
    say "$(stat --format '%A %U:%G %n' /dev/uinput)"
    mkdir -p /etc/systemd/system/gazed.service.d
    cat > /etc/systemd/system/gazed.service.d/pointer.conf << 'UNIT'
[Service]
SupplementaryGroups=gaze-input
DeviceAllow=/dev/uinput rw
UNIT
    must systemctl daemon-reload
    settings << 'SETTINGS'
[source]
source = "synthetic:1"
[events.blink]
longest_frame_interval_ms = 2000
[outputs]
pointer = { clicks = "anywhere", dwell_ms = 400 }
SETTINGS
    local device reader
    subscribe
    samples 3 60
    device=$(grep -l '^gazed pointer$' /sys/class/input/event*/device/name | cut -d / -f 5)
    [ -n "$device" ] || fail "there is no mouse: $(journalctl --unit gazed --output cat --no-pager | grep pointer)"
    # `struct input_event` of a machine of 64 bits; a line for each report.
    perl -e '
        open my $device, "<:raw", "/dev/input/$ARGV[0]" or die "$ARGV[0]: $!\n";
        $| = 1;
        while (sysread($device, my $event, 24) == 24) {
            my ($s, $us, $type, $code, $value) = unpack "q q S S l", $event;
            $at[$code] = $value if $type == 3;
            print "button $value\n" if $type == 1;
            print "at ", $at[0] // "-", " ", $at[1] // "-", "\n" if $type == 0 && $type_before == 3;
            $type_before = $type;
        }' "$device" > /run/mouse 2>&1 &
    reader=$!
    samples 100 300
    unsubscribe
    kill "$reader"
    wait "$reader" 2> /dev/null
    # The stream, followed as host/src/server/pointer.rs does.
    perl -e '
        open my $mouse, "<", "/run/mouse" or die;
        my (@found, $presses, $releases);
        while (<$mouse>) {
            push @found, [$1, $2] if /^at (\d+) (\d+)/;
            $presses++ if /^button 1/;
            $releases++ if /^button 0/;
        }
        sub place { map { my $share = $_ < 0 ? 0 : $_ > 1 ? 1 : $_; int($share * 65535 + 0.5) } @_ }
        open my $stream, "<", $ARGV[0] or die;
        my (%told, $fixation, $known_us, $is_down);
        my ($clicked, $n_due) = (-1, 0);
        my $por = qr/"por":\{[^}]*"x":([-\d.e]+),"y":([-\d.e]+)\}/;
        while (<$stream>) {
            ($fixation, $known_us) = ($1, $3 - $2)
                if /"type":"event_(?:begin|update)","id":(\d+),"event":"fixation","onset_us":(\d+),"until_us":(\d+)/;
            undef $fixation if /"type":"fixation".*"id":(\d+)/ && defined $fixation && $1 >= $fixation;
            my $was_down = $is_down;
            $is_down = 0 if /"type":"sample"/;
            next unless /"type":"(?:sample|event_begin|event_update|fixation)"/ && /$por/;
            if (/"type":"sample"/ && !$was_down && !/"low_confidence"/ && defined $fixation && $fixation != $clicked) {
                ($clicked, $is_down, $n_due) = ($fixation, 1, $n_due + 1) if $known_us >= 400_000;
            }
            /$por/;
            my ($x, $y) = place($1, $2);
            # The last digit may have been rounded the other way.
            for my $near ($x - 1 .. $x + 1) { $told{"$near $_"} = 1 for $y - 1 .. $y + 1 }
        }
        my $strange = grep { !$told{"@$_"} } @found;
        printf "%d places, %d of them not in the stream; %d presses and %d releases, %d fixations were seen for 0.4 s\n",
            scalar @found, $strange, $presses, $releases, $n_due;
        exit(@found < 20 || $strange > 0 || $presses == 0 || abs($presses - $releases) > 1 || abs($presses - $n_due) > 1);
    ' "$seen" > /run/said 2>&1 || fail "the mouse does not follow the gaze: $(cat /run/said)"
    say "$(cat "/sys/class/input/$device/device/name"), /dev/input/$device: $(cat /run/said)"
    say "memory with a face, which gazed renders itself: $(memory)"
    rm -r /etc/systemd/system/gazed.service.d
    must systemctl daemon-reload
    own_settings
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
        from=$(moment)
        for task in "/proc/$pid/task/"*; do
            [ "$(cat "$task/comm")" = "$thread" ] && break
        done
        strace --output /dev/null --attach "$(basename "$task")" --inject all:delay_enter=600000000 2> /dev/null &
        tracer=$!
        local began=$SECONDS
        within 90 "said_since '$from' | grep -q -i watchdog"
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
    # The recorder's word went to a file that nobody has synced, and would go with the power.
    tail -n 1 ~anna/acknowledged | tr -dc 0-9 > /var/tmp/safe
    sync /var/tmp/safe
    say "records that are said to be safe: $(cat /var/tmp/safe)"
}
recorded() {
    local safe kept
    safe=$(cat /var/tmp/safe)
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
