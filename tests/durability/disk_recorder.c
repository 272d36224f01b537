/* Preloaded into a process, this stands between it and the C library's file calls under one folder.
 *
 * LATEWOOD_DISK_ROOT  the folder
 * LATEWOOD_DISK_LOG   where every change is written down, in the order in which it happened; unset: nowhere
 *
 * disk_fail(n, error, sticky): the n-th change from now on fails with errno `error`; if sticky, so do all after it.
 * disk_changes(): how many changes there were since.
 *
 * A record of the log, little-endian: u32 kind, u32 length of path, u32 length of second path, u64 offset, u64 length
 * of data; then path, second path, data. Left out: the shared memory of SQLite (-shm), which is no part of what a disk
 * keeps, and derived/, since tantivy renames by bare system calls, which nothing preloaded sees.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static int log_descriptor = -1;
static long fail_at = 0, changes = 0;
static int fail_error = 0, fail_sticky = 0;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("LATEWOOD_DISK_ROOT"), *log = getenv("LATEWOOD_DISK_LOG");
    if (folder) snprintf(root, sizeof root, "%s", folder);
    if (log && folder)
        log_descriptor = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

void disk_fail(long n, int error, int sticky) {
    pthread_mutex_lock(&mutex);
    fail_at = n; fail_error = error; fail_sticky = sticky; changes = 0;
    pthread_mutex_unlock(&mutex);
}

long disk_changes(void) { return changes; }

/* The absolute path that a call is about; 1 if it lies under the root. */
static int resolve(int folder, const char *path, char *out) {
    char base[PATH_MAX] = "", link[64];
    if (path && path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        if (path && strlen(base) + strlen(path) + 2 > PATH_MAX) return 0;
        if (path) { strcpy(out, base); strcat(out, "/"); strcat(out, path); } else strcpy(out, base);
    }
    size_t n = strlen(root);
    return n && strncmp(out, root, n) == 0 && (out[n] == '/' || out[n] == 0);
}

static int is_left_out(const char *path) {
    size_t n = strlen(path);
    return (n > 4 && strcmp(path + n - 4, "-shm") == 0) || strstr(path, "/derived");
}

static void put(const void *data, size_t length) {
    const char *at = data;
    while (length) {
        ssize_t n = syscall(SYS_write, log_descriptor, at, length);
        if (n <= 0) abort();
        at += n; length -= (size_t)n;
    }
}

static void record(uint32_t kind, const char *path, const char *second, uint64_t offset, const void *data, uint64_t length) {
    if (log_descriptor < 0 || is_left_out(path)) return;
    int kept = errno;
    uint32_t words[3] = {kind, (uint32_t)strlen(path), second ? (uint32_t)strlen(second) : 0};
    uint64_t numbers[2] = {offset, data ? length : 0};
    put(words, sizeof words);
    put(numbers, sizeof numbers);
    put(path, words[1]);
    if (second) put(second, words[2]);
    if (data) put(data, length);
    errno = kept;
}

/* Called with the mutex held, before a change: nonzero if it shall fail. */
static int refused(void) {
    changes++;
    if (fail_at && (changes == fail_at || (fail_sticky && changes > fail_at))) { errno = fail_error; return 1; }
    return 0;
}

#define GUARDED(type, condition, call, on_success)      \
    type result;                                        \
    if (!(condition)) return (call);                    \
    pthread_mutex_lock(&mutex);                         \
    if (refused()) result = (type)-1;                   \
    else { result = (call); if (result >= 0) { on_success; } } \
    { int kept = errno; pthread_mutex_unlock(&mutex); errno = kept; } \
    return result;

static int open_any(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int (*real)(int, const char *, int, ...) = REAL(openat);
    int changing = flags & (O_CREAT | O_TRUNC);
    if (!changing || (flags & O_TMPFILE) == O_TMPFILE || !resolve(folder, path, full))
        return real(folder, path, flags, mode);
    pthread_mutex_lock(&mutex);
    struct stat before;
    int existed = stat(full, &before) == 0, descriptor = -1;
    if ((existed && !(flags & O_TRUNC)) || !refused()) {
        descriptor = real(folder, path, flags, mode);
        if (descriptor >= 0 && !existed) record(CREATE, full, NULL, 0, NULL, 0);
        else if (descriptor >= 0 && (flags & O_TRUNC)) record(TRUNCATE, full, NULL, 0, NULL, 0);
    }
    int kept = errno;
    pthread_mutex_unlock(&mutex);
    errno = kept;
    return descriptor;
}

#define MODE mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *path, int flags, ...) { MODE return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return open_any(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return open_any(folder, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

ssize_t write(int descriptor, const void *data, size_t length) {
    char full[PATH_MAX];
    off_t at = 0;
    struct stat now;
    int ours = root[0] && resolve(descriptor, NULL, full) && fstat(descriptor, &now) == 0 && S_ISREG(now.st_mode);
    if (ours) at = fcntl(descriptor, F_GETFL) & O_APPEND ? now.st_size : lseek(descriptor, 0, SEEK_CUR);
    GUARDED(ssize_t, ours, REAL(write)(descriptor, data, length),
            record(WRITE, full, NULL, (uint64_t)at, data, (uint64_t)result))
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = write(descriptor, parts[i].iov_base, parts[i].iov_len);
        if (n < 0) return total ? total : -1;
        total += n;
        if ((size_t)n < parts[i].iov_len) break;
    }
    return total;
}

#define PWRITE(name, offset_type) \
    ssize_t name(int descriptor, const void *data, size_t length, offset_type at) { \
        char full[PATH_MAX]; \
        GUARDED(ssize_t, root[0] && resolve(descriptor, NULL, full), REAL(name)(descriptor, data, length, at), \
                record(WRITE, full, NULL, (uint64_t)at, data, (uint64_t)result)) \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define FTRUNCATE(name, offset_type) \
    int name(int descriptor, offset_type length) { \
        char full[PATH_MAX]; \
        GUARDED(int, root[0] && resolve(descriptor, NULL, full), REAL(name)(descriptor, length), \
                record(TRUNCATE, full, NULL, (uint64_t)length, NULL, 0)) \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define SYNCING(name) \
    int name(int descriptor) { \
        char full[PATH_MAX]; \
        GUARDED(int, root[0] && resolve(descriptor, NULL, full), REAL(name)(descriptor), record(SYNC, full, NULL, 0, NULL, 0)) \
    }
SYNCING(fsync)
SYNCING(fdatasync)

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX];
    int ours = root[0] && resolve(from, old, source) && resolve(to, new, target);
    GUARDED(int, ours, (int)syscall(SYS_renameat2, from, old, to, new, flags), record(RENAME, source, target, 0, NULL, 0))
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    char source[PATH_MAX], target[PATH_MAX];
    int ours = root[0] && resolve(from, old, source) && resolve(to, new, target);
    GUARDED(int, ours, REAL(linkat)(from, old, to, new, flags), record(LINK, source, target, 0, NULL, 0))
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int folder, const char *path, int flags) {
    char full[PATH_MAX];
    /* Removing is never refused: a full disk lets you. */
    if (!root[0] || !resolve(folder, path, full)) return REAL(unlinkat)(folder, path, flags);
    pthread_mutex_lock(&mutex);
    int result = REAL(unlinkat)(folder, path, flags);
    if (result == 0) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, full, NULL, 0, NULL, 0);
    int kept = errno;
    pthread_mutex_unlock(&mutex);
    errno = kept;
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
    char full[PATH_MAX];
    GUARDED(int, root[0] && resolve(folder, path, full), REAL(mkdirat)(folder, path, mode), record(MKDIR, full, NULL, 0, NULL, 0))
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* Ways to write that would pass the log by: refused, so that callers fall back to plain writes. */
ssize_t copy_file_range(int a, off64_t *b, int c, off64_t *d, size_t e, unsigned f) { errno = ENOSYS; return -1; }
ssize_t sendfile(int a, int b, off_t *c, size_t d) { errno = EINVAL; return -1; }
ssize_t sendfile64(int a, int b, off64_t *c, size_t d) { errno = EINVAL; return -1; }
int posix_fallocate(int a, off_t b, off_t c) { return EOPNOTSUPP; }
int posix_fallocate64(int a, off64_t b, off64_t c) { return EOPNOTSUPP; }
int fallocate(int a, int b, off_t c, off_t d) { errno = EOPNOTSUPP; return -1; }
int fallocate64(int a, int b, off64_t c, off64_t d) { errno = EOPNOTSUPP; return -1; }
