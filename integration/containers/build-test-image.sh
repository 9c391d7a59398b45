#!/usr/bin/env bash
# build-test-image.sh - Docker images holding real MCP stdio servers, with no container registry.
#
#   build-test-image.sh import BINARY[,MORE...] TAG     binaries of this machine (the first is /server, the others bear
#                                             their own names) and the libraries they are linked with; needs no
#                                             docker command and no second build, only the engine's socket and curl.
#                                             Does nothing when the image holds this very file already.
#   build-test-image.sh static BINARY [TAG]   FROM scratch + one static binary
#   build-test-image.sh py [TAG]              Python 3.11 + mcp-server-time, from Debian packages and PyPI
#
# "static" needs no network at all. "py" uses apt-get download (no root needed, host must be Debian/Ubuntu
# amd64 with Python 3.11 packages, i.e. bookworm) and pip. Neither runs anything during the docker build,
# so the classic builder and BuildKit both do.
#
# How to get BINARY (the gnu target is enough; --target is what keeps proc-macros building):
#   RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --release --target x86_64-unknown-linux-gnu
set -euo pipefail
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT
LABEL="${TEST_IMAGE_LABEL:-mcp.test-image=1}"
# The classic builder wants --network none spelled out; it only matters for RUN steps, and there are none.
build() {
    DOCKER_BUILDKIT="${DOCKER_BUILDKIT:-0}" docker build -q --network none --label "$LABEL" -t "$1" "$2" >"$WORK/build.log" 2>&1 ||
        { cat "$WORK/build.log" >&2; exit 1; }
}

case "${1:-}" in
import)
    IFS=, read -ra BINS <<<"${2:?binary}"; TAG=${3:?tag}; MARK=$(stat -c '%s-%Y-%i' "${BINS[@]}" | paste -sd_)
    SOCK="${DOCKER_HOST:-unix:///var/run/docker.sock}"; SOCK=${SOCK#unix://}
    api() { curl -fsS -m 120 --unix-socket "$SOCK" "$@"; }
    exec 9>"${TMPDIR:-/tmp}/hangar-test-image.$(id -u).lock"; flock -w 120 9
    OLD=$(api "http://d/images/$TAG/json" 2>/dev/null || true)
    case "$OLD" in *"\"hangar.test.build\":\"$MARK\""*) echo "$TAG"; exit 0 ;; esac
    mkdir -p "$WORK/root/tmp"
    for BIN in "${BINS[@]}"; do
        NAME=$(basename "$BIN"); if [ "$BIN" = "${BINS[0]}" ]; then NAME=server; fi
        install -m 0755 "$BIN" "$WORK/root/$NAME"
        strip --strip-debug "$WORK/root/$NAME" 2>/dev/null || true
        # "libc.so.6 => /lib/.../libc.so.6 (0x...)" and "/lib64/ld-linux-x86-64.so.2 (0x...)"
        for lib in $(ldd "$BIN" | grep -o '/[^ ]*'); do install -D -m 0755 "$lib" "$WORK/root$lib"; done
    done
    tar -C "$WORK/root" -cf "$WORK/image.tar" .
    # ENTRYPOINT ["/server"], USER 65534:65534, and the mark as a label.
    CHANGES="changes=ENTRYPOINT%20%5B%22%2Fserver%22%5D&changes=USER%2065534%3A65534&changes=LABEL%20hangar.test.build%3D$MARK"
    api -o "$WORK/import.log" -X POST -H 'Content-Type: application/x-tar' -T "$WORK/image.tar" \
        "http://d/images/create?fromSrc=-&repo=$TAG&$CHANGES"
    # The one that it replaces would stay for ever without a name.
    OLD=$(printf %s "$OLD" | grep -o '"Id":"sha256:[0-9a-f]*"' | head -n 1 | cut -d'"' -f4 || true)
    if [ -n "$OLD" ]; then api -X DELETE "http://d/images/$OLD" >/dev/null 2>&1 || true; fi
    echo "$TAG" ;;
static)
    BIN=${2:?binary}; TAG=${3:-mcp-test/$(basename "$BIN"):latest}
    if [ "$(head -c 4 "$BIN" | tail -c 3)" != ELF ]; then echo "build-test-image: $BIN is no ELF file" >&2; exit 1; fi
    if ldd "$BIN" 2>/dev/null | grep -q '=>'; then
        echo "build-test-image: $BIN is dynamically linked, it cannot run FROM scratch" >&2; exit 1
    fi
    install -m 0755 "$BIN" "$WORK/server"
    printf 'FROM scratch\nCOPY server /server\nUSER 65534:65534\nENTRYPOINT ["/server"]\n' >"$WORK/Dockerfile"
    build "$TAG" "$WORK"; echo "$TAG" ;;
py)
    TAG=${2:-mcp-test/time:latest}
    PKGS="python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libssl3 libexpat1 zlib1g libffi8
          libsqlite3-0 libbz2-1.0 liblzma5 libuuid1 libcrypt1 libgcc-s1 libstdc++6 tzdata"
    mkdir -p "$WORK/debs" "$WORK/ctx/root" "$WORK/ctx/app"
    # shellcheck disable=SC2086
    (cd "$WORK/debs" && apt-get -o APT::Sandbox::User=root download -qq $PKGS)
    for d in "$WORK"/debs/*.deb; do dpkg-deb -x "$d" "$WORK/ctx/root"; done
    rm -rf "$WORK"/ctx/root/usr/share/{doc,man,locale,lintian}
    python3 -m pip install -q --no-warn-conflicts --root-user-action=ignore --target "$WORK/ctx/app" \
        --python-version 3.11 --implementation cp --only-binary=:all: \
        --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 "${MCP_TIME_SPEC:-mcp-server-time}"
    cat >"$WORK/ctx/Dockerfile" <<'D'
FROM scratch
COPY root /
COPY app /opt/app
ENV PYTHONPATH=/opt/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 LANG=C.UTF-8
USER 65534:65534
ENTRYPOINT ["/usr/bin/python3.11","-m","mcp_server_time","--local-timezone","UTC"]
D
    build "$TAG" "$WORK/ctx"; echo "$TAG" ;;
*) sed -n '2,12p' "$0" >&2; exit 2 ;;
esac
