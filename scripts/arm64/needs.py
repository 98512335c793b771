"""Refuses ARM programs that ask for more than the device has: symbols of a newer glibc, or libraries beside libc's own.

    needs.py GLIBC VARIANT PROGRAM...
"""

import re
import subprocess
import sys

PLAIN = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libgcc_s.so.1", "ld-linux-aarch64.so.1"}
GSTREAMER = re.compile(r"lib(gst[a-z]*-1\.0|gobject-2\.0|glib-2\.0)\.so\.0")


def dynamic(program):
    """Names of the libraries asked for, and the newest glibc version, from readelf."""
    run = lambda flag: subprocess.run(["readelf", flag, "-W", program], check=True, capture_output=True, text=True).stdout
    libraries = set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("-d")))
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(\d+(?:\.\d+)+)", run("--dyn-syms"))}
    return libraries, max(versions, default=(0,))


def main():
    floor, variant, *programs = sys.argv[1:]
    for program in programs:
        libraries, newest = dynamic(program)
        print(f"{program}: glibc {'.'.join(map(str, newest))}, {' '.join(sorted(libraries))}")
        extra = {name for name in libraries - PLAIN if variant == "arm64" or not GSTREAMER.fullmatch(name)}
        if extra:
            sys.exit(f"{program} needs {' '.join(sorted(extra))}, which a device may not have")
        if newest > tuple(map(int, floor.split("."))):
            sys.exit(f"{program} needs a newer glibc than {floor}")


if __name__ == "__main__":
    main()
