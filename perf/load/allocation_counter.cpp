// SPDX-License-Identifier: Apache-2.0
// Counts the heap allocations of an unchanged program, for the budget rows that say zero:
//
//     LD_PRELOAD=build/release/perf/allocation_counter.so ALLOCATION_COUNT_FILE=count program
//
// The count is the first eight bytes of the file (a page that the reader made before), so it can be read while the
// program runs. Every malloc, calloc, realloc and aligned allocation counts as one; operator new arrives here as
// malloc. Freeing is not counted: in steady state there is one free per allocation. glibc only (it exports the __libc_
// names).
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

extern "C" {

void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

std::atomic<std::uint64_t> before_main{0};
std::atomic<std::atomic<std::uint64_t>*> count{&before_main};

void add_one() { count.load(std::memory_order_relaxed)->fetch_add(1, std::memory_order_relaxed); }

[[gnu::constructor]] void open_count() {
  const char* path = std::getenv("ALLOCATION_COUNT_FILE");
  const int fd = path != nullptr ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) count.store(static_cast<std::atomic<std::uint64_t>*>(page), std::memory_order_relaxed);
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
  add_one();
  return __libc_malloc(size);
}

void* calloc(std::size_t number, std::size_t size) {
  add_one();
  return __libc_calloc(number, size);
}

void* realloc(void* old, std::size_t size) {
  add_one();
  return __libc_realloc(old, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) {
  add_one();
  return __libc_memalign(alignment, size);
}

void* memalign(std::size_t alignment, std::size_t size) {
  add_one();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  add_one();
  void* memory = __libc_memalign(alignment, size);
  if (memory == nullptr) return ENOMEM;
  *out = memory;
  return 0;
}
}
