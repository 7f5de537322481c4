/*
 * Records every change that a process makes to files below a directory, in order, for tests of power loss; and can
 * make the changes fail, for tests of a failing disk.
 *
 * Built by the test and preloaded (LD_PRELOAD) into the process that writes:
 *     RECORDER_ROOT    the directory, absolute
 *     RECORDER_TRACE   the file that receives the records
 *     RECORDER_FAIL    optional: "N E M L", M changes and syncs from the Nth on fail with the error number E; with L
 *                      not 0, only syncs of the write-ahead log count and fail
 *
 * A record is: kind (1 byte), inode (8), argument (8), length (4), bytes. Numbers are in the byte order of the machine.
 *     C create      path           a new file
 *     M mkdir       path
 *     W write       bytes          argument: the offset
 *     T truncate                   argument: the length
 *     R rename      from \0 to
 *     L link        from \0 to
 *     U unlink      path
 *     B sync begins                argument: a number of the call
 *     E sync ended                 argument: the same number
 *     ! the name of a call that this file cannot record: the test fails
 *
 * Every call but a sync runs under one lock together with its record, so the order of the records is the order of the
 * changes. A sync makes durable what was written before it began, and counts once it has ended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static char root[4096];
static size_t root_len;
static uint64_t syncs;
static long changes, fail_from = -1, fail_count;
static int fail_log_syncs;
static int fail_with;

static void die(const char *why) {
    dprintf(2, "recorder: %s: %s\n", why, strerror(errno));
    _exit(99);
}

__attribute__((constructor)) static void start(void) {
    const char *dir = getenv("RECORDER_ROOT"), *file = getenv("RECORDER_TRACE");
    if (!dir || !file) return;
    trace = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) die("cannot open the trace");
    root_len = strlen(dir);
    if (root_len + 1 >= sizeof root) die("the path is too long");
    memcpy(root, dir, root_len + 1);
    const char *fail = getenv("RECORDER_FAIL");
    if (fail && sscanf(fail, "%ld %d %ld %d", &fail_from, &fail_with, &fail_count, &fail_log_syncs) != 4) die("RECORDER_FAIL");
}

static int below(const char *path) {
    return trace >= 0 && !strncmp(path, root, root_len) && (path[root_len] == '/' || !path[root_len]);
}

/* Whether a descriptor is a file or directory below the root. */
static int below_fd(int fd) {
    char link[64], path[4096];
    if (trace < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}

static uint64_t inode(int fd) {
    struct stat found;
    if (fstat(fd, &found)) die("fstat");
    return found.st_ino;
}

static uint64_t inode_at(const char *path) {
    struct stat found;
    return lstat(path, &found) ? 0 : found.st_ino;
}

static void record(char kind, uint64_t ino, uint64_t argument, const void *bytes, size_t len) {
    char head[21];
    uint32_t len32 = (uint32_t)len;
    head[0] = kind;
    memcpy(head + 1, &ino, 8);
    memcpy(head + 9, &argument, 8);
    memcpy(head + 17, &len32, 4);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, len}};
    if (syscall(SYS_writev, trace, parts, 2) != (ssize_t)(sizeof head + len)) die("cannot write the trace");
}

static void unsupported(const char *call) {
    record('!', 0, 0, call, strlen(call));
}

/* Counts a change, and says whether it must fail. Called under the lock. */
static int fails_as(int is_log_sync) {
    if (fail_log_syncs && !is_log_sync) return 0;
    if (fail_from < 0 || ++changes < fail_from || changes - fail_from >= fail_count) return 0;
    errno = fail_with;
    return 1;
}
static int fails(void) { return fails_as(0); }

static int is_log(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 4 && !memcmp(path + n - 4, ".log", 4);
}

static int open_at(int dir, const char *path, int flags, mode_t mode) {
    int seen = path[0] == '/' && below(path);
    if (!seen) return (int)syscall(SYS_openat, dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    uint64_t before = inode_at(path);
    int refused = (flags & O_CREAT) && !before && fails();
    int fd = refused ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode), why = errno;
    if (fd >= 0 && (flags & O_CREAT) && !before) record('C', inode(fd), 0, path, strlen(path));
    if (fd >= 0 && (flags & O_TRUNC) && before) record('T', before, 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = why;
    return fd;
}

#define MODE(mode, flags)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = (mode_t)va_arg(rest, int);                                                                              \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_at(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_at(AT_FDCWD, path, flags, mode);
}
int openat(int dir, const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_at(dir, path, flags, mode);
}
int openat64(int dir, const char *path, int flags, ...) {
    MODE(mode, flags)
    return open_at(dir, path, flags, mode);
}
int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

ssize_t write(int fd, const void *bytes, size_t len) {
    if (!below_fd(fd)) return syscall(SYS_write, fd, bytes, len);
    pthread_mutex_lock(&lock);
    ssize_t n = fails() ? -1 : syscall(SYS_write, fd, bytes, len);
    int why = errno;
    /* The position after the write, also when the file was opened for appending. */
    if (n > 0) record('W', inode(fd), (uint64_t)lseek(fd, 0, SEEK_CUR) - (uint64_t)n, bytes, (size_t)n);
    pthread_mutex_unlock(&lock);
    errno = why;
    return n;
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    if (!below_fd(fd)) return syscall(SYS_pwrite64, fd, bytes, len, offset);
    pthread_mutex_lock(&lock);
    ssize_t n = fails() ? -1 : syscall(SYS_pwrite64, fd, bytes, len, offset);
    int why = errno;
    if (n > 0) record('W', inode(fd), (uint64_t)offset, bytes, (size_t)n);
    pthread_mutex_unlock(&lock);
    errno = why;
    return n;
}
ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset) { return pwrite(fd, bytes, len, offset); }

int ftruncate(int fd, off_t len) {
    if (!below_fd(fd)) return (int)syscall(SYS_ftruncate, fd, len);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, len), why = errno;
    if (!result) record('T', inode(fd), (uint64_t)len, "", 0);
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}
int ftruncate64(int fd, off_t len) { return ftruncate(fd, len); }

int mkdir(const char *path, mode_t mode) {
    if (!below(path)) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), why = errno;
    if (!result) record('M', inode_at(path), 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}

static int two_paths(char kind, const char *from, const char *to) {
    char both[8192];
    size_t first = strlen(from), second = strlen(to);
    if (first + second + 1 > sizeof both) die("the paths are too long");
    memcpy(both, from, first + 1);
    memcpy(both + first + 1, to, second);
    pthread_mutex_lock(&lock);
    int result = -1, why;
    if (!fails())
        result = (int)(kind == 'R' ? syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0)
                                   : syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
    why = errno;
    if (!result) record(kind, 0, 0, both, first + second + 1);
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}
int rename(const char *from, const char *to) {
    if (!below(from) && !below(to)) return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    return two_paths('R', from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    if (!below(to)) return (int)syscall(SYS_linkat, a, from, b, to, flags);
    if (from[0] != '/' || flags) unsupported("linkat");
    return two_paths('L', from, to);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

static int unlink_at(int dir, const char *path, int flags) {
    int seen = path[0] == '/' && below(path);
    if (!seen) return (int)syscall(SYS_unlinkat, dir, path, flags);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlinkat, dir, path, flags), why = errno;
    if (!result) record('U', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}
int unlink(const char *path) { return unlink_at(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlink_at(dir, path, flags); }
int rmdir(const char *path) { return unlink_at(AT_FDCWD, path, AT_REMOVEDIR); }

static int sync_fd(int fd, long call) {
    if (!below_fd(fd)) return (int)syscall(call, fd);
    uint64_t ino = inode(fd);
    pthread_mutex_lock(&lock);
    uint64_t number = ++syncs;
    int failed = fails_as(is_log(fd)), why = errno;
    record('B', ino, number, "", 0);
    pthread_mutex_unlock(&lock);
    int result = failed ? -1 : (int)syscall(call, fd);
    if (!failed) why = errno;
    pthread_mutex_lock(&lock);
    if (!result) record('E', ino, number, "", 0);
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}
int fsync(int fd) { return sync_fd(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_fd(fd, SYS_fdatasync); }

/* Space beyond the end of the file changes nothing that can be read. Anything else would. */
int fallocate(int fd, int mode, off_t offset, off_t len) {
    if (!(mode & FALLOC_FL_KEEP_SIZE) && below_fd(fd)) unsupported("fallocate");
    struct stat found;
    if ((mode & FALLOC_FL_PUNCH_HOLE) && below_fd(fd) && !fstat(fd, &found) && offset < found.st_size)
        unsupported("fallocate, a hole");
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}
int fallocate64(int fd, int mode, off_t offset, off_t len) { return fallocate(fd, mode, offset, len); }

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) && below_fd(fd)) unsupported("mmap");
    return (void *)syscall(SYS_mmap, at, len, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t len, int protection, int flags, int fd, off_t offset) {
    return mmap(at, len, protection, flags, fd, offset);
}

/* Calls that nothing here makes today. Should that change, the test says so. */
#define UNSUPPORTED_FD(type, name, parameters, arguments)                                                              \
    type name parameters {                                                                                             \
        if (below_fd(fd)) unsupported(#name);                                                                          \
        return ((type(*) parameters)dlsym(RTLD_NEXT, #name))arguments;                                                 \
    }
UNSUPPORTED_FD(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
UNSUPPORTED_FD(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
UNSUPPORTED_FD(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
UNSUPPORTED_FD(int, posix_fallocate, (int fd, off_t at, off_t len), (fd, at, len))
UNSUPPORTED_FD(int, posix_fallocate64, (int fd, off_t at, off_t len), (fd, at, len))
UNSUPPORTED_FD(int, syncfs, (int fd), (fd))
UNSUPPORTED_FD(ssize_t, copy_file_range, (int from, off_t *at, int fd, off_t *to, size_t len, unsigned flags),
               (from, at, fd, to, len, flags))
UNSUPPORTED_FD(ssize_t, sendfile, (int fd, int from, off_t *at, size_t len), (fd, from, at, len))
UNSUPPORTED_FD(ssize_t, sendfile64, (int fd, int from, off_t *at, size_t len), (fd, from, at, len))

#define UNSUPPORTED_PATH(name, parameters, path, arguments)                                                            \
    int name parameters {                                                                                              \
        if (below(path)) unsupported(#name);                                                                           \
        return ((int(*) parameters)dlsym(RTLD_NEXT, #name))arguments;                                                  \
    }
UNSUPPORTED_PATH(symlink, (const char *from, const char *to), to, (from, to))
UNSUPPORTED_PATH(renameat, (int a, const char *from, int b, const char *to), to, (a, from, b, to))
UNSUPPORTED_PATH(renameat2, (int a, const char *from, int b, const char *to, unsigned flags), to, (a, from, b, to, flags))
UNSUPPORTED_PATH(truncate, (const char *path, off_t len), path, (path, len))
UNSUPPORTED_PATH(truncate64, (const char *path, off_t len), path, (path, len))
