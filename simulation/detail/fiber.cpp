// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/simulation/detail/fiber.hpp>

#include <new>
#include <utility>
#include <vector>

#include <boost/context/fiber.hpp>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define SKERRY_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SKERRY_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define SKERRY_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SKERRY_THREAD_SANITIZER 1
#endif
#endif
#ifdef SKERRY_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef SKERRY_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace skerry::sim::detail {

namespace {

constexpr std::size_t guard_bytes = 4096;

/// Mapped stacks that nobody uses: a simulation of some milliseconds would spend as long on mapping them.
class stack_stock {
 public:
  ~stack_stock() {
    for (void* each : unused_) ::munmap(each, fiber::stack_bytes + guard_bytes);
  }
  void* take() {
    if (!unused_.empty()) {
      void* last = unused_.back();
      unused_.pop_back();
      return last;
    }
    void* made = ::mmap(nullptr, fiber::stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (made == MAP_FAILED) throw std::bad_alloc();
    ::mprotect(made, guard_bytes, PROT_NONE);
    return made;
  }
  void give_back(void* stack) { unused_.push_back(stack); }

 private:
  std::vector<void*> unused_;
};

stack_stock& stock() {
  static stack_stock all;
  return all;
}

struct stock_allocator {
  const void** low;  // told where the stack is

  boost::context::stack_context allocate() {
    std::byte* lowest = static_cast<std::byte*>(stock().take()) + guard_bytes;
    *low = lowest;
    boost::context::stack_context made;
    made.size = fiber::stack_bytes;
    made.sp = lowest + fiber::stack_bytes;
    return made;
  }
  void deallocate(boost::context::stack_context& made) noexcept {
    stock().give_back(static_cast<std::byte*>(made.sp) - made.size - guard_bytes);
  }
};

}  // namespace

/// What the sanitizers are told at each switch: which stack, and whether it comes back.
struct fiber::context {
  std::function<void()> body;
  boost::context::fiber inside;
  boost::context::fiber outside;
  bool over = false;
  const void* stack_low = nullptr;
  const void* outside_low = nullptr;
  std::size_t outside_size = 0;
  void* fake_inside = nullptr;
  void* thread_inside = nullptr;
  void* thread_outside = nullptr;

  void entering([[maybe_unused]] void** fake) noexcept {
#ifdef SKERRY_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(fake, stack_low, fiber::stack_bytes);
#endif
#ifdef SKERRY_THREAD_SANITIZER
    thread_outside = __tsan_get_current_fiber();
    if (thread_inside == nullptr) thread_inside = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(thread_inside, 0);
#endif
  }
  void came_back([[maybe_unused]] void* fake) noexcept {
#ifdef SKERRY_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }
  void arrived() noexcept {
#ifdef SKERRY_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fake_inside, &outside_low, &outside_size);
#endif
  }
  void leaving([[maybe_unused]] bool for_ever) noexcept {
#ifdef SKERRY_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake_inside, outside_low, outside_size);
#endif
#ifdef SKERRY_THREAD_SANITIZER
    __tsan_switch_to_fiber(thread_outside, 0);
#endif
  }
};

fiber::fiber(std::function<void()> body) : context_(std::make_unique<context>()) {
  context* c = context_.get();
  c->body = std::move(body);
  const auto run = [c](boost::context::fiber&& from) {
    c->outside = std::move(from);
    c->arrived();
    c->body();
    c->over = true;
    c->leaving(true);
    return std::move(c->outside);
  };
  c->inside = boost::context::fiber(std::allocator_arg, stock_allocator{&c->stack_low}, run);
}

fiber::~fiber() {
  if (context_ == nullptr) return;
  SKERRY_ASSERT(context_->over, "a fiber that has not ended cannot be unwound");
#ifdef SKERRY_THREAD_SANITIZER
  if (context_->thread_inside != nullptr) __tsan_destroy_fiber(context_->thread_inside);
#endif
}

void fiber::resume() {
  SKERRY_ASSERT(!ended(), "an ended fiber does not go on");
  context& c = *context_;
  void* fake = nullptr;
  c.entering(&fake);
  c.inside = std::move(c.inside).resume();
  c.came_back(fake);
}

void fiber::yield() {
  context& c = *context_;
  c.leaving(false);
  c.outside = std::move(c.outside).resume();
  c.arrived();
}

bool fiber::ended() const noexcept { return context_->over; }

void fiber::abandon() noexcept {
  static std::vector<context*> left;  // reachable, so that no checker of leaks takes them for lost
#ifdef SKERRY_ADDRESS_SANITIZER
  __lsan_register_root_region(context_->stack_low, stack_bytes);  // what only its stack knows is no leak either
#endif
  left.push_back(context_.release());
}

}  // namespace skerry::sim::detail
