/* Notes every connection to another machine that a program sets out to make, for tests: loaded before libc
 * (LD_PRELOAD), it stands in for connect and sendto and passes them on.
 *
 *   KAIZEN_CONNECTIONS_LOG  file that gets one line for each: an IPv4 or IPv6 peer, not a socket of this machine's own */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *call, const struct sockaddr *address) {
    const char *path = getenv("KAIZEN_CONNECTIONS_LOG");
    if (!path || !address || (address->sa_family != AF_INET && address->sa_family != AF_INET6)) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || write(fd, call, strlen(call)) < 0) abort();
    close(fd);
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    note("connect\n", address);
    return ((__typeof__(&connect))dlsym(RTLD_NEXT, "connect"))(fd, address, length);
}

ssize_t sendto(int fd, const void *bytes, size_t count, int flags, const struct sockaddr *address, socklen_t length) {
    note("sendto\n", address);
    return ((__typeof__(&sendto))dlsym(RTLD_NEXT, "sendto"))(fd, bytes, count, flags, address, length);
}
