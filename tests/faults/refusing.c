/* A disk that refuses: preloaded, it fails the n-th call that writes below a folder, of Python and of every library.
   refuse(prefix, nth, error, lasting, removals) arms it; refused(0) counts such calls, refused(1) those that failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char prefix[PATH_MAX];
static long nth, calls, failed;
static int error, lasting, removals, armed;
static char last[64];

void refuse(const char *below, long at, int code, int for_good, int of_removals) {
    snprintf(prefix, sizeof prefix, "%s/", below);
    nth = at, error = code, lasting = for_good, removals = of_removals, calls = failed = 0;
    armed = 1;
}

long refused(int which) {
    if (which == 2) armed = 0;
    return which ? failed : calls;
}

const char *refused_call(void) { return last; }

static int below(const char *path) { return strncmp(path, prefix, strlen(prefix)) == 0; }

static int of_handle(int handle) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

static int of_path(int at, const char *name) {
    char path[2 * PATH_MAX], link[64], folder[PATH_MAX];
    if (!name) return 0;
    if (name[0] == '/') return below(name);
    if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = readlink(link, folder, sizeof folder - 1);
    if (length <= 0) return 0;
    folder[length] = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return below(path);
}

static int no(int concerned, const char *call) {
    if (!armed || !concerned) return 0;
    calls++;
    if (calls != nth && !(lasting && calls > nth)) return 0;
    if (!failed++) snprintf(last, sizeof last, "%s", call);
    errno = error;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list v; va_start(v, flags); mode = va_arg(v, mode_t); va_end(v); }
#define OPEN(name) int name(const char *path, int flags, ...) { MODE; REAL(name); \
    return armed && WRITES(flags) && no(of_path(AT_FDCWD, path), "open") ? -1 : real(path, flags, mode); }
#define OPENAT(name) int name(int at, const char *path, int flags, ...) { MODE; REAL(name); \
    return armed && WRITES(flags) && no(of_path(at, path), "open") ? -1 : real(at, path, flags, mode); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

#define HANDLE(type, name, given, passed) type name given { REAL(name); \
    return armed && no(of_handle(handle), #name) ? -1 : real passed; }
HANDLE(ssize_t, write, (int handle, const void *data, size_t size), (handle, data, size))
HANDLE(ssize_t, writev, (int handle, const struct iovec *data, int count), (handle, data, count))
HANDLE(ssize_t, pwrite, (int handle, const void *data, size_t size, off_t at), (handle, data, size, at))
HANDLE(ssize_t, pwrite64, (int handle, const void *data, size_t size, off64_t at), (handle, data, size, at))
#define SYNC(name) int name(int handle) { REAL(name); int mine = armed && of_handle(handle); \
    return mine ? no(1, #name) ? -1 : 0 : real(handle); }
SYNC(fsync) SYNC(fdatasync) /* no power is lost here: what is not refused takes no time */
HANDLE(int, ftruncate, (int handle, off_t size), (handle, size))
HANDLE(int, ftruncate64, (int handle, off64_t size), (handle, size))

#define PATH(name, given, passed, concerned) int name given { REAL(name); return armed && no(concerned, #name) ? -1 : real passed; }
PATH(rename, (const char *from, const char *to), (from, to), of_path(AT_FDCWD, to))
PATH(renameat, (int at, const char *from, int of, const char *to), (at, from, of, to), of_path(of, to))
PATH(renameat2, (int at, const char *from, int of, const char *to, unsigned how), (at, from, of, to, how), of_path(of, to))
PATH(link, (const char *from, const char *to), (from, to), of_path(AT_FDCWD, to))
PATH(symlink, (const char *from, const char *to), (from, to), of_path(AT_FDCWD, to))
PATH(mkdir, (const char *path, mode_t mode), (path, mode), of_path(AT_FDCWD, path))
PATH(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), of_path(at, path))
PATH(unlink, (const char *path), (path), removals && of_path(AT_FDCWD, path))
PATH(unlinkat, (int at, const char *path, int flags), (at, path, flags), removals && of_path(at, path))
PATH(rmdir, (const char *path), (path), removals && of_path(AT_FDCWD, path))
