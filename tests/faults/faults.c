/* Makes writes to the state file fail, for tests: loaded before libc (LD_PRELOAD), it stands in for the calls by which
 * SQLite changes a file and lets some of them fail, chosen by seed.
 *
 *   KAIZEN_FAULT_PATH    only files whose path starts with this (the state file, its log and index, a new one beside it)
 *   KAIZEN_FAULT_SEED    number from which the choice follows
 *   KAIZEN_FAULT_ONE_IN  on average one call in so many fails; 0 or unset: none
 *   KAIZEN_FAULT_BYTES   after so many bytes every write fails as on a full disk; unset: never
 *   KAIZEN_FAULT_LOG     file that gets one line for each failure, before the caller sees it
 *
 * A failure is ENOSPC, EIO, or a short write: half of the bytes arrive, and the next write to that file finds the disk
 * full. Syncing and truncating fail with EIO. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum fate { PASS, NO_SPACE, IO_ERROR, SHORT };

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static const char *path, *log_path;
static uint64_t state, one_in, bytes_left = UINT64_MAX;
static int is_ready, torn = -1;

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void start(void) {
    if (is_ready) return;
    path = getenv("KAIZEN_FAULT_PATH");
    log_path = getenv("KAIZEN_FAULT_LOG");
    state = number("KAIZEN_FAULT_SEED", 1) * 0x9e3779b97f4a7c15u + 1;
    one_in = number("KAIZEN_FAULT_ONE_IN", 0);
    bytes_left = number("KAIZEN_FAULT_BYTES", UINT64_MAX);
    is_ready = 1;
}

static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int is_meant(int fd) {
    char link[64], target[4096];
    if (!path) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0) return 0;
    target[length] = 0;
    return strncmp(target, path, strlen(path)) == 0 && !strstr(target, ".lock");
}

static void note(const char *what) {
    if (!log_path) return;
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, what, strlen(what));
    close(fd);
}

/* What is to become of writing `count` bytes to `fd`. */
static enum fate fate_of_write(int fd, size_t count) {
    enum fate fate = PASS;
    pthread_mutex_lock(&guard);
    start();
    if (is_meant(fd)) {
        if (torn == fd || count > bytes_left) {
            torn = -1;
            fate = NO_SPACE;
        } else if (one_in && draw() % one_in == 0) {
            fate = 1 + draw() % 3;
            if (fate == SHORT) torn = fd;
        }
        if (fate == PASS && bytes_left != UINT64_MAX) bytes_left -= count;
        if (fate == NO_SPACE) note("write ENOSPC\n");
        if (fate == IO_ERROR) note("write EIO\n");
        if (fate == SHORT) note("write short\n");
    }
    pthread_mutex_unlock(&guard);
    return fate;
}

static int fails(int fd, const char *what) {
    int does = 0;
    pthread_mutex_lock(&guard);
    start();
    if (is_meant(fd) && one_in && draw() % one_in == 0) {
        does = 1;
        note(what);
    }
    pthread_mutex_unlock(&guard);
    return does;
}

static ssize_t refuse(enum fate fate) {
    errno = fate == NO_SPACE ? ENOSPC : EIO;
    return -1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    enum fate fate = fate_of_write(fd, count);
    if (fate == NO_SPACE || fate == IO_ERROR) return refuse(fate);
    return NEXT(write)(fd, bytes, fate == SHORT && count > 1 ? count / 2 : count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    enum fate fate = fate_of_write(fd, count);
    if (fate == NO_SPACE || fate == IO_ERROR) return refuse(fate);
    return NEXT(pwrite)(fd, bytes, fate == SHORT && count > 1 ? count / 2 : count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    enum fate fate = fate_of_write(fd, count);
    if (fate == NO_SPACE || fate == IO_ERROR) return refuse(fate);
    return NEXT(pwrite64)(fd, bytes, fate == SHORT && count > 1 ? count / 2 : count, offset);
}

int ftruncate(int fd, off_t length) {
    return fails(fd, "ftruncate EIO\n") ? (int)refuse(IO_ERROR) : NEXT(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    return fails(fd, "ftruncate EIO\n") ? (int)refuse(IO_ERROR) : NEXT(ftruncate64)(fd, length);
}

int fsync(int fd) { return fails(fd, "fsync EIO\n") ? (int)refuse(IO_ERROR) : NEXT(fsync)(fd); }

int fdatasync(int fd) { return fails(fd, "fdatasync EIO\n") ? (int)refuse(IO_ERROR) : NEXT(fdatasync)(fd); }
