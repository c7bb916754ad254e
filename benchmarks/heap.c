// Counts the heap exactly: preloaded into a process, it stands before glibc's allocator and keeps
// how many bytes are in use, and the most that ever were. memory.py compiles, loads and asks it.
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);

static atomic_long used, peak;

long heap_used(void) { return used; }
long heap_peak(void) { return peak; }
void heap_forget_peak(void) { peak = used; }

static void change(long bytes) {
  const long now = atomic_fetch_add(&used, bytes) + bytes;
  long seen = peak;
  while (now > seen && !atomic_compare_exchange_weak(&peak, &seen, now)) {
  }
}

static void* count(void* block) {
  if (block) change((long)malloc_usable_size(block));
  return block;
}

void* malloc(size_t size) { return count(__libc_malloc(size)); }
void* calloc(size_t number, size_t size) { return count(__libc_calloc(number, size)); }
void* memalign(size_t alignment, size_t size) { return count(__libc_memalign(alignment, size)); }
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** block, size_t alignment, size_t size) {
  *block = memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}

void* realloc(void* block, size_t size) {
  const long before = block ? (long)malloc_usable_size(block) : 0;
  void* moved = __libc_realloc(block, size);
  if (moved || size == 0) change((moved ? (long)malloc_usable_size(moved) : 0) - before);
  return moved;
}

void free(void* block) {
  if (block) change(-(long)malloc_usable_size(block));
  __libc_free(block);
}
