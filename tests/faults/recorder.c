/* Records what a program does to the files of a folder, for tests that rebuild the folder as it could be after a power
 * cut: loaded before libc (LD_PRELOAD), it stands in for the calls that change files and directories, passes them on, and
 * appends a record of each that succeeded. What is written to standard output is recorded as well: that is what the
 * program acknowledged.
 *
 *   KAIZEN_RECORD_FOLDER  the folder; files whose name ends in -shm or .lock are left out, since they are made anew
 *   KAIZEN_RECORD_LOG     the file that the records are appended to
 *   KAIZEN_RECORD_DROP    a control: no sync of a file whose name ends in this is recorded ("*": of any file)
 *
 * A record is one line of text, `KIND INODE OFFSET LENGTH NAME`, and LENGTH bytes: C(reate) a file, W(rite), T(runcate to
 * OFFSET), S(ync) a file, R(ename, the bytes are the new name), U(nlink), D (sync of the folder), A(cknowledge). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *drop;
static int log_fd = -1;

__attribute__((constructor)) static void start(void) {
    const char *log_path = getenv("KAIZEN_RECORD_LOG");
    folder = getenv("KAIZEN_RECORD_FOLDER");
    drop = getenv("KAIZEN_RECORD_DROP");
    if (log_path && folder) log_fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void all(const void *bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        long wrote = syscall(SYS_write, log_fd, (const char *)bytes + done, count - done);
        if (wrote <= 0) abort();
        done += wrote;
    }
}

static void record(char kind, ino_t inode, off_t offset, const void *bytes, size_t length, const char *name) {
    char line[512];
    int count = snprintf(line, sizeof line, "%c %lu %ld %zu %s\n", kind, (unsigned long)inode, (long)offset, length, name);
    all(line, count);
    if (length) all(bytes, length);
}

static int ends(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* The name in the folder of a path, if it is a file there that counts. */
static const char *inside(const char *path) {
    if (log_fd < 0) return NULL;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0 || path[length] != '/') return NULL;
    const char *name = path + length + 1;
    return *name == 0 || strchr(name, '/') || ends(name, "-shm") || ends(name, ".lock") ? NULL : name;
}

static const char *path_of(int fd, char *target, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, size - 1);
    if (length < 0) return NULL;
    target[length] = 0;
    return target;
}

/* The name of an open file, if it counts, with its inode. */
static const char *name_of(int fd, char *target, size_t size, ino_t *inode) {
    struct stat found;
    if (log_fd < 0 || fd == log_fd || !path_of(fd, target, size) || fstat(fd, &found) != 0) return NULL;
    *inode = found.st_ino;
    return inside(target);
}

/* An absolute path, with its folder resolved. */
static const char *absolute(const char *path, char *out) {
    char parent[4096], base[4096], real[4096];
    snprintf(parent, sizeof parent, "%s", path);
    snprintf(base, sizeof base, "%s", path);
    if (!realpath(dirname(parent), real)) return path;
    snprintf(out, 8192, "%s/%s", real, basename(base));
    return out;
}

static void wrote(int fd, const void *bytes, ssize_t count, off_t offset) {
    char target[4096];
    ino_t inode;
    const char *name = count > 0 ? name_of(fd, target, sizeof target, &inode) : NULL;
    if (name) record('W', inode, offset, bytes, count, name);
    else if (count > 0 && fd == 1 && log_fd >= 0) record('A', 0, 0, bytes, count, "-");
}

ssize_t write(int fd, const void *bytes, size_t count) {
    pthread_mutex_lock(&guard);
    struct stat found;
    off_t offset = lseek(fd, 0, SEEK_CUR);
    if (fcntl(fd, F_GETFL) & O_APPEND && fstat(fd, &found) == 0) offset = found.st_size;
    /* An acknowledgement counts from before it can be seen. */
    if (fd == 1) wrote(fd, bytes, count, offset);
    ssize_t done = NEXT(write)(fd, bytes, count);
    if (fd != 1) wrote(fd, bytes, done, offset);
    pthread_mutex_unlock(&guard);
    return done;
}

static ssize_t positioned(int fd, const void *bytes, size_t count, off_t offset) {
    pthread_mutex_lock(&guard);
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, count, offset);
    wrote(fd, bytes, done, offset);
    pthread_mutex_unlock(&guard);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return positioned(fd, bytes, count, offset); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return positioned(fd, bytes, count, offset); }

static int truncated(int fd, off_t length) {
    char target[4096];
    ino_t inode;
    pthread_mutex_lock(&guard);
    int failed = syscall(SYS_ftruncate, fd, length);
    const char *name = failed ? NULL : name_of(fd, target, sizeof target, &inode);
    if (name) record('T', inode, length, NULL, 0, name);
    pthread_mutex_unlock(&guard);
    return failed;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length); }

int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

static int synced(int fd, long call) {
    char target[4096];
    ino_t inode;
    pthread_mutex_lock(&guard);
    int failed = syscall(call, fd);
    const char *name = failed ? NULL : name_of(fd, target, sizeof target, &inode);
    int is_dropped = drop && (strcmp(drop, "*") == 0 || (name && ends(name, drop)));
    if (name && !is_dropped) record('S', inode, 0, NULL, 0, name);
    else if (!failed && log_fd >= 0 && !is_dropped && path_of(fd, target, sizeof target) && strcmp(target, folder) == 0)
        record('D', 0, 0, NULL, 0, "-");
    pthread_mutex_unlock(&guard);
    return failed;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }

int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int opened(int directory, const char *path, int flags, mode_t mode) {
    char resolved[8192];
    struct stat before;
    pthread_mutex_lock(&guard);
    int was_there = stat(path, &before) == 0;
    int fd = syscall(SYS_openat, directory, path, flags, mode);
    const char *name = fd >= 0 && flags & (O_CREAT | O_TRUNC) ? inside(absolute(path, resolved)) : NULL;
    if (name && fstat(fd, &before) == 0) {
        if (!was_there) record('C', before.st_ino, 0, NULL, 0, name);
        else if (flags & O_TRUNC) record('T', before.st_ino, 0, NULL, 0, name);
    }
    pthread_mutex_unlock(&guard);
    return fd;
}

#define MODE(flags)                                       \
    mode_t mode = 0;                                      \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                \
        va_list more;                                     \
        va_start(more, flags);                            \
        mode = va_arg(more, mode_t);                      \
        va_end(more);                                     \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return opened(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return opened(AT_FDCWD, path, flags, mode);
}

int rename(const char *from, const char *to) {
    char a[8192], b[8192];
    struct stat found = {0};
    pthread_mutex_lock(&guard);
    const char *old = inside(absolute(from, a)), *new = inside(absolute(to, b));
    stat(from, &found);
    int failed = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!failed && old && new) record('R', found.st_ino, 0, new, strlen(new), old);
    pthread_mutex_unlock(&guard);
    return failed;
}

int unlink(const char *path) {
    char resolved[8192];
    struct stat found = {0};
    pthread_mutex_lock(&guard);
    const char *name = inside(absolute(path, resolved));
    stat(path, &found);
    int failed = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (!failed && name) record('U', found.st_ino, 0, NULL, 0, name);
    pthread_mutex_unlock(&guard);
    return failed;
}
