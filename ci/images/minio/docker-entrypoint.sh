#!/bin/sh
# Arguments are minio's, with or without its name, as with the real image.
[ "$1" = minio ] || [ -z "$1" ] || set -- minio "$@"
exec "$@"
