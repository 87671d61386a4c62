# Sourced, not run. `environment` or `environment dev` leaves the path of a Python that has this
# project installed (with the extra of that name) in $PYTHON_BIN. The environment is .venv in the
# project's root, or $MAGISTRAL_VENV. It is installed again when setup.py has changed, and when it was
# installed for another clone: an environment has one clone installed at a time.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

find_python() {
  # Prints the first Python >= 3.11 that can make a virtual environment; $PYTHON goes first.
  local candidate found=''
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    found=$candidate
    if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  if [ -n "$found" ]; then
    echo "$found cannot make a virtual environment: install its venv module (on Debian and Ubuntu" \
      "the package python3-venv)." >&2
  else
    echo "No Python 3.11 or later was found: install one, or name it with PYTHON=/path/to/python." >&2
  fi
  return 1
}

environment() {
  local extra=${1:-} venv=${MAGISTRAL_VENV:-$ROOT/.venv} wanted python other
  local stamp=$venv/.installed
  PYTHON_BIN=$venv/bin/python
  wanted=$(cksum < "$ROOT/setup.py")
  # One stamp per extra. Without an extra the pattern matches every stamp: any of them will do.
  if "$PYTHON_BIN" -c '' 2>/dev/null; then
    local made
    for made in "$stamp-$extra"*; do
      [ "$(cat "$made" 2>/dev/null)" = "$wanted $ROOT" ] && return 0
    done
    # A stamp is "CHECKSUM BYTES ROOT".
    other=$(cat "$stamp"-* 2>/dev/null | cut -d' ' -f3- | grep -vxF -m1 -- "$ROOT" || true)
    if [ -n "$other" ]; then
      echo "$venv was installed for $other and will be installed for $ROOT instead: give every" \
        "clone a MAGISTRAL_VENV of its own to keep both." >&2
      rm -f "$stamp"-*   # With any extra: none of them is installed for that clone any more.
    fi
  else
    python=$(find_python) || return 1
    echo "Making a virtual environment in $venv" >&2
    "$python" -m venv --clear "$venv" || return 1
  fi
  echo "Installing magistral_jax${extra:+ with [$extra]} (a few minutes the first time)" >&2
  # Modules are compiled when they are first imported: most of them never are, and it would take as
  # long as all else of the installation.
  "$PYTHON_BIN" -m pip install --quiet --quiet --no-compile --disable-pip-version-check \
    -e "$ROOT${extra:+[$extra]}" >&2 || return 1
  echo "$wanted $ROOT" > "$stamp-$extra"
  echo "Installed. Other commands run in it after \`source $venv/bin/activate\`." >&2
}
