#!/bin/sh
# Started as root it hands its folders to the user that mosquitto becomes.
set -e
[ "$(id -u)" != 0 ] || chown -R mosquitto:mosquitto /mosquitto || true
exec "$@"
