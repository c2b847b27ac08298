/* Preloaded into a process: logs every write, truncation, unlink and sync of files below $WRITES_OF to $WRITES_TO. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int log_fd = -1;

static void record(char what, const char *path, int64_t offset, const void *data, int64_t length) {
    const char *root = getenv("WRITES_OF"), *to = getenv("WRITES_TO");
    if (!root || !to || strncmp(path, root, strlen(root)) || strstr(path, "-shm")) return;
    const char *name = path[strlen(root)] ? strrchr(path, '/') + 1 : "."; /* the folder itself */
    if (log_fd < 0) log_fd = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND, 0600);
    char head[256];
    int size = snprintf(head, sizeof head, "%c %s %lld %lld\n", what, name, (long long)offset, (long long)length);
    syscall(SYS_write, log_fd, head, size);
    if (data) syscall(SYS_write, log_fd, data, length);
}

static void record_fd(char what, int fd, int64_t offset, const void *data, int64_t length) {
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0 || fd == log_fd) return;
    path[n] = 0;
    record(what, path, offset, data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, offset);
    if (done > 0) record_fd('W', fd, offset, data, done);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }
ssize_t write(int fd, const void *data, size_t length) {
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_write, fd, data, length);
    if (done > 0) record_fd('W', fd, at, data, done);
    return done;
}
int ftruncate64(int fd, off64_t length) {
    int done = syscall(SYS_ftruncate, fd, length);
    if (!done) record_fd('T', fd, length, NULL, 0);
    return done;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
int fsync(int fd) {
    record_fd('S', fd, 0, NULL, 0);
    return syscall(SYS_fsync, fd);
}
int fdatasync(int fd) {
    record_fd('S', fd, 0, NULL, 0);
    return syscall(SYS_fdatasync, fd);
}
int unlink(const char *path) {
    record('U', path, 0, NULL, 0);
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
