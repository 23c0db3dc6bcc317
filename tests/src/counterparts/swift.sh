# Runs a Swift of one copy of everything in namespaces of its own, as process 1 of them: swift.rs starts it by
# `unshare`. When this shell ends, everything that it started ends with it.
#
#   swift.sh FOLDER, which has proxy-server.conf, account-server.conf, container-server.conf and object-server.conf
set -eu
folder=$1
exec 3<&0
export SWIFT_DIR=$folder
PATH=$PATH:/usr/sbin:/sbin

mkdir -p "$folder/node/d1"
cd "$folder"
for part in object container account; do
    port=$(sed -n 's/^bind_port = //p' $part-server.conf)
    swift-ring-builder $part.builder create 4 1 1 >/dev/null
    swift-ring-builder $part.builder add "r1z1-127.0.0.1:$port/d1" 1 >/dev/null
    swift-ring-builder $part.builder rebalance >/dev/null
done
memcached -u root -l 127.0.0.1 -p "$(sed -n 's/^memcache_servers = .*://p' proxy-server.conf)" -m 32 3<&- &
for part in object container account proxy; do
    swift-$part-server "$folder/$part-server.conf" 3<&- &
done
cat <&3 >/dev/null &
wait -n
