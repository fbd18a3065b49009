#!/bin/sh
# Started as root it becomes `rabbitmq`; variables that RabbitMQ's image gave up are refused.
set -eu
case "$1" in
rabbitmq*)
    if [ "$(id -u)" = 0 ]; then
        [ "$1" != rabbitmq-server ] ||
            find /var/lib/rabbitmq ! -user rabbitmq -exec chown rabbitmq '{}' +
        exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
    fi
    ;;
esac
refused=$(env | sed -n 's/^\(RABBITMQ_\(DEFAULT_PASS_FILE\|DEFAULT_USER_FILE\|VM_MEMORY_HIGH_WATERMARK\|\(MANAGEMENT_\)\?SSL_[A-Z_]*\)\)=..*/\1/p')
if [ -n "$refused" ]; then
    echo "error: deprecated environment variables: $refused" >&2
    exit 1
fi
if [ -z "${RABBITMQ_USE_LONGNAME-}" ] && [ "$(hostname)" != "$(hostname -s)" ]; then
    export RABBITMQ_USE_LONGNAME=true
fi
exec "$@"
