#!/bin/sh
# Options go to turnserver; a command of another name is run as it is. Each argument may hold a
# `$(command)`, as the real image's default does.
case "${1-}" in
-* | "") set -- turnserver "$@" ;;
esac
words=
for word in "$@"; do
    words="$words \"$(printf '%s' "$word" | sed 's/"/\\"/g')\""
done
eval "exec $words"
