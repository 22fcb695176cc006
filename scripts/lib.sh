# Sourced by the verbs beside it: brings Debian packages and the locked environment to where the verb needs them.
# Needs Python 3.11 or later and git; everything else it fetches, or says how.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# Tests start hundreds of Python processes, and each would compile all that it imports: half of what `lamplighter-edge
# check` takes. What is compiled lies in .venv, not beside the sources, so whoever wants none there gets none there.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=${PYTHONPYCACHEPREFIX-$PWD/.venv/pycache}

# need_debian PACKAGE=PROGRAM …: the Debian packages whose programs are missing, installed when we are root. What is no
# program is named by a file that it brings, with its whole path: libc6-dev=/usr/include/stdio.h.
need_debian() {
    local missing=() pair what
    for pair in "$@"; do
        what=${pair#*=}
        [ "${what#/}" != "$what" ] && [ -e "$what" ] && continue
        PATH="$PATH:/usr/sbin:/sbin" command -v "$what" >/dev/null || missing+=("${pair%%=*}")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -eq 0 ]; then
        echo "installing ${missing[*]} …" >&2
        apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            "${missing[@]}" >/dev/null && return 0
    fi
    echo "Missing programs. Install them with:" >&2
    echo "  sudo apt-get install -y ${missing[*]}" >&2
    return 1
}

# need_python [VENV LOCK]: .venv with exactly what requirements.lock says, or another such pair, and this checkout in
# it. Quick when nothing changed.
need_python() {
    local venv=${1-.venv} lock=${2-requirements.lock} stamp
    stamp=$(cat "$lock" pyproject.toml firmware-sim/pyproject.toml | sha256sum)
    if [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$venv/bin/python" ]; then
        local words
        for words in edge/web/locale/*/LC_MESSAGES/*.po; do  # what was translated since is compiled again
            [ "${words%.po}.mo" -nt "$words" ] || { "$venv/bin/python" hatch_build.py --compile; break; }
        done
        return 0
    fi
    echo "preparing the Python environment …" >&2
    local python=${PYTHON-} candidate
    for candidate in $python python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
        python=
    done
    [ -n "$python" ] || { echo "Python 3.11 or later is needed: sudo apt-get install -y python3 python3-venv" >&2; return 1; }
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        need_debian python3-venv=/no-such-file && "$python" -m venv "$venv" || return 1
    fi
    # uv brings the rest: at once, and only what the lock names with its hashes.
    "$venv/bin/python" -m pip install -q --require-hashes --no-deps -r <(sed -n '/^uv==/,/[^\\]$/p' "$lock") &&
        VIRTUAL_ENV=$venv "$venv/bin/uv" pip sync -q --require-hashes "$lock" &&
        VIRTUAL_ENV=$venv "$venv/bin/uv" pip install -q --no-deps --no-build-isolation -e . -e firmware-sim &&
        echo "$stamp" >"$venv/stamp"
}
