#!/usr/bin/env bash
# A real Apache Kafka (KRaft, one node) for the tests, run from the jars that Maven fetches by name.
#
#   broker.sh fetch                     fetch the server once, into .build/kafka
#   broker.sh start PORT DIR            start it with its data in DIR, return when it answers
#   broker.sh stop DIR                  stop it and wait
#   broker.sh kill DIR                  kill -9, as a power cut would
#   broker.sh with PORT COMMAND...      start with fresh data, run COMMAND with KAFKA_BROKERS set, stop
#
# Where KAFKA_BROKERS is set already, `with` runs COMMAND against that broker and starts none.
#
# What a test puts into DIR before `start` is used: extra.properties after the broker's own (the last of a name counts),
# and format.arguments and java.arguments, one argument a line. tests/kafka/secure.rs sets up TLS and SASL so.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KAFKA_CACHE_DIR:-$here/../../.build/kafka}
ready_seconds=90

die() { echo "broker.sh: $*" >&2; exit 1; }

fetch() {
    local pom_sum
    pom_sum=$(cksum <"$here/pom.xml")
    if [[ -f $cache/fetched && $(<"$cache/fetched") == "$pom_sum" ]]; then return; fi
    command -v mvn >/dev/null || die "needs Maven: apt-get install maven"
    rm -rf "$cache/libs"
    mkdir -p "$cache"
    echo "broker.sh: fetching Apache Kafka with Maven" >&2
    mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$(cd "$cache" && pwd)/libs" >&2 || die "Maven could not fetch Apache Kafka"
    echo "$pom_sum" >"$cache/fetched"
}

java_options=(-Xms128m -Xmx512m -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)

start() {
    local port=$1 dir=$2 controller_port=$(($1 + 1)) format_arguments=() java_arguments=()
    command -v java >/dev/null || die "needs Java 17: apt-get install openjdk-17-jre-headless"
    fetch
    mkdir -p "$dir"
    # Group rebalances at once, so that tests need not wait; retention is looked at hourly, and not 30 seconds
    # after the start as well, since the tests write records dated 1970.
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
log.dirs=$dir/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=3600000
log.initial.task.delay.ms=3600000
auto.create.topics.enable=false
PROPERTIES
    if [[ -f $dir/extra.properties ]]; then cat "$dir/extra.properties" >>"$dir/server.properties"; fi
    if [[ -f $dir/format.arguments ]]; then mapfile -t format_arguments <"$dir/format.arguments"; fi
    if [[ -f $dir/java.arguments ]]; then mapfile -t java_arguments <"$dir/java.arguments"; fi
    if [[ ! -f $dir/data/meta.properties ]]; then
        java "${java_options[@]}" -cp "$cache/libs/*" kafka.tools.StorageTool format \
            --cluster-id aGVsaW9tZXRlci10ZXN0cw --config "$dir/server.properties" "${format_arguments[@]}" \
            >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; die "storage could not be formatted"; }
    fi
    java "${java_options[@]}" "${java_arguments[@]}" -cp "$cache/libs/*" kafka.Kafka "$dir/server.properties" \
        >>"$dir/broker.log" 2>&1 &
    local pid=$!
    echo "$pid" >"$dir/pid"
    for ((tenths = 0; tenths < ready_seconds * 10; tenths++)); do
        # The broker opens its port as the last thing it does at startup.
        if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
        kill -0 "$pid" 2>/dev/null || { tail -n 40 "$dir/broker.log" >&2; die "the broker ended at startup"; }
        sleep 0.1
    done
    kill -9 "$pid"
    die "the broker did not answer on port $port within $ready_seconds seconds; see $dir/broker.log"
}

end() {
    local signal=$1 dir=$2 pid
    [[ -f $dir/pid ]] || return 0
    pid=$(<"$dir/pid")
    kill "-$signal" "$pid" 2>/dev/null || true
    for ((tenths = 0; tenths < 300; tenths++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$dir/pid"
}

with_broker() {
    local port=$1
    shift
    if [[ -n ${KAFKA_BROKERS:-} ]]; then exec "$@"; fi
    broker_dir=$(mktemp -d)
    trap 'end TERM "$broker_dir"; rm -rf "$broker_dir"' EXIT
    start "$port" "$broker_dir"
    local status=0
    KAFKA_BROKERS=127.0.0.1:$port "$@" || status=$?
    exit "$status"
}

case "${1:-}" in
fetch) fetch ;;
start) [[ $# -eq 3 ]] || die "usage: broker.sh start PORT DIR"; start "$2" "$3" ;;
stop) [[ $# -eq 2 ]] || die "usage: broker.sh stop DIR"; end TERM "$2" ;;
kill) [[ $# -eq 2 ]] || die "usage: broker.sh kill DIR"; end KILL "$2" ;;
with) [[ $# -ge 3 ]] || die "usage: broker.sh with PORT COMMAND..."; shift; with_broker "$@" ;;
*) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
