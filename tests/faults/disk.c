/* A disk that fails: loaded before libc (LD_PRELOAD), it refuses operations below one folder from a chosen one on.
 *
 * MFEDGE_DISK_BELOW    the folder; nothing else is touched
 * MFEDGE_DISK_AFTER    so many operations succeed first
 * MFEDGE_DISK_ERROR    errno: ENOSPC fails whatever needs space, EROFS whatever changes anything, EIO one operation alone
 * MFEDGE_DISK_COUNTER  a file of 8 bytes: operations so far, of this process and of all that it starts
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static uint64_t* counter;
static const char* below;
static uint64_t after;
static int error;

__attribute__((constructor)) static void begin(void) {
  const char* path = getenv("MFEDGE_DISK_COUNTER");
  below = getenv("MFEDGE_DISK_BELOW");
  if (!path || !below) return;
  after = strtoull(getenv("MFEDGE_DISK_AFTER"), NULL, 10);
  error = atoi(getenv("MFEDGE_DISK_ERROR"));
  int file = open(path, O_RDWR | O_CLOEXEC);
  void* memory = file < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory != MAP_FAILED) counter = memory;
  if (file >= 0) close(file);
}

/* Whether this operation fails; `frees` are those that need no space. */
static int fails(const char* path, int frees) {
  if (!counter || strncmp(path, below, strlen(below)) != 0) return 0;
  if (frees && error != EROFS) return 0;
  uint64_t number = __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
  if (error == EIO ? number != after : number < after) return 0;
  errno = error;
  return 1;
}

static int at(int folder, const char* path, int frees) {
  char whole[2 * PATH_MAX], link[64];
  if (!counter) return 0;
  if (path[0] == '/') return fails(path, frees);
  if (folder == AT_FDCWD) {
    if (!getcwd(whole, PATH_MAX)) return 0;
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, whole, PATH_MAX - 1);
    if (length < 0) return 0;
    whole[length] = 0;
  }
  strcat(whole, "/");
  strncat(whole, path, PATH_MAX - 1);
  return fails(whole, frees);
}

static int open_file(int file) {
  char link[64], path[PATH_MAX];
  if (!counter) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(path, 0);
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }

#define NEXT(type, name, ...)                                  \
  static type (*next)(__VA_ARGS__);                            \
  if (!next) next = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name);

#define OPEN(name)                                             \
  int name(const char* path, int flags, ...) {                 \
    NEXT(int, name, const char*, int, ...)                     \
    va_list list;                                              \
    va_start(list, flags);                                     \
    mode_t mode = va_arg(list, mode_t);                        \
    va_end(list);                                              \
    if (writes(flags) && at(AT_FDCWD, path, 0)) return -1;     \
    return next(path, flags, mode);                            \
  }
#define OPENAT(name)                                           \
  int name(int folder, const char* path, int flags, ...) {     \
    NEXT(int, name, int, const char*, int, ...)                \
    va_list list;                                              \
    va_start(list, flags);                                     \
    mode_t mode = va_arg(list, mode_t);                        \
    va_end(list);                                              \
    if (writes(flags) && at(folder, path, 0)) return -1;       \
    return next(folder, path, flags, mode);                    \
  }
#define FOPEN(name)                                            \
  FILE* name(const char* path, const char* mode) {             \
    NEXT(FILE*, name, const char*, const char*)                \
    if (mode[0] != 'r' && at(AT_FDCWD, path, 0)) return NULL;  \
    return next(path, mode);                                   \
  }
#define ON_FILE(type, name, parameters, arguments, ...)        \
  type name parameters {                                       \
    NEXT(type, name, __VA_ARGS__)                              \
    if (open_file(file)) return -1;                            \
    return next arguments;                                     \
  }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)
ON_FILE(ssize_t, write, (int file, const void* data, size_t size), (file, data, size), int, const void*, size_t)
ON_FILE(ssize_t, writev, (int file, const struct iovec* parts, int count), (file, parts, count), int, const struct iovec*, int)
ON_FILE(ssize_t, pwrite64, (int file, const void* data, size_t size, off64_t from), (file, data, size, from), int, const void*, size_t, off64_t)
ON_FILE(ssize_t, sendfile, (int file, int in, off_t* from, size_t size), (file, in, from, size), int, int, off_t*, size_t)
ON_FILE(ssize_t, sendfile64, (int file, int in, off64_t* from, size_t size), (file, in, from, size), int, int, off64_t*, size_t)
ON_FILE(int, ftruncate64, (int file, off64_t size), (file, size), int, off64_t)
ON_FILE(int, fsync, (int file), (file), int)

int mkdir(const char* path, mode_t mode) {
  NEXT(int, mkdir, const char*, mode_t)
  return at(AT_FDCWD, path, 0) ? -1 : next(path, mode);
}
int rename(const char* from, const char* to) {
  NEXT(int, rename, const char*, const char*)
  return at(AT_FDCWD, to, 1) ? -1 : next(from, to);
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  NEXT(int, renameat2, int, const char*, int, const char*, unsigned)
  return at(to_folder, to, 1) ? -1 : next(from_folder, from, to_folder, to, flags);
}
int unlink(const char* path) {
  NEXT(int, unlink, const char*)
  return at(AT_FDCWD, path, 1) ? -1 : next(path);
}
int unlinkat(int folder, const char* path, int flags) {
  NEXT(int, unlinkat, int, const char*, int)
  return at(folder, path, 1) ? -1 : next(folder, path, flags);
}
int rmdir(const char* path) {
  NEXT(int, rmdir, const char*)
  return at(AT_FDCWD, path, 1) ? -1 : next(path);
}
