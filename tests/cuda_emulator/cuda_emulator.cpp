// The emulator's scheduler. One thread of a block runs until it waits, returns or fails, then the
// next; when none can go on, the barriers that all their threads have reached are opened.
#include "cuda_emulator.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "context.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

cuda_emulator::Index threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_emulator {

unsigned order = 0;
int64_t max_blocks = INT32_MAX;

namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr size_t kMaxSharedBytes = 48 << 10;
constexpr size_t kStackBytes = 128 << 10;

// The values are CUDA's.
enum Error { kSuccess = 0, kInvalidValue = 1, kInvalidConfiguration = 9 };
Error error = kSuccess;

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kReturned };

struct Fiber {
  unsigned thread;
  std::unique_ptr<char[]> stack;
  Context context;
  void* fake_stack = nullptr;  // AddressSanitizer's
  State state;
  const char* function;    // where it waits
  bool predicate;          // of a block barrier
  unsigned warp_meetings;  // so far
};

std::vector<Fiber> fibers;
Fiber* current;
Context scheduler;
void* scheduler_fake_stack;
const void* scheduler_stack;
size_t scheduler_stack_bytes;

void (*thread_body)(void*);
void* thread_data;
std::string fault;  // of the current thread
int true_predicates;
// What threads pass at a warp barrier. A second buffer, for those that are at the next one already.
uint64_t passed[2][kMaxThreads];

std::unique_ptr<unsigned char[]> shared;
size_t shared_size = 0;

// AddressSanitizer has to be told of every change of stack.
void leave([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* next_stack,
           [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, next_stack, bytes);
#endif
}
void arrive([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** last_stack,
            [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, last_stack, bytes);
#endif
}

void switch_to_scheduler() {
  Fiber& self = *current;
  leave(&self.fake_stack, scheduler_stack, scheduler_stack_bytes);
  switch_context(self.context, scheduler);
  arrive(self.fake_stack, &scheduler_stack, &scheduler_stack_bytes);
}

void wait(State barrier, const char* function) {
  current->state = barrier;
  current->function = function;
  switch_to_scheduler();
}

void fiber_main() noexcept {
  arrive(nullptr, &scheduler_stack, &scheduler_stack_bytes);
  for (Fiber& self = *current;;) {
    thread_body(thread_data);
    self.state = State::kReturned;
    switch_to_scheduler();
  }
}

void add_fiber() {
  Fiber& fiber = fibers.emplace_back();
  fiber.thread = unsigned(fibers.size() - 1);
  fiber.stack.reset(new char[kStackBytes]);
  // Ends that differ in their low bits keep the stacks from sharing a few lines of the cache.
  const size_t unused = fiber.thread * 320 % (16 << 10);
  make_context(fiber.context, fiber.stack.get(), kStackBytes - unused, fiber_main);
}

void resume(Fiber& fiber) {
  current = &fiber;
  threadIdx.x = fiber.thread;
  leave(&scheduler_fake_stack, fiber.stack.get(), kStackBytes);
  switch_context(scheduler, fiber.context);
  arrive(scheduler_fake_stack, nullptr, nullptr);
}

// Every number below `count` once.
class Permutation {
 public:
  explicit Permutation(uint64_t count) : count_(count) {
    if (order == 0) {
      first_ = 0, step_ = 1;
    } else if (order == 1) {
      first_ = step_ = count - 1;
    } else {
      first_ = 37 * uint64_t(order) % count, step_ = 2 * uint64_t(order) + 1;
      while (std::gcd(step_, count) != 1) ++step_;
    }
  }
  unsigned operator[](uint64_t at) const { return unsigned((first_ + at * step_) % count_); }

 private:
  uint64_t count_, first_, step_;
};

std::string where(const Fiber& fiber) {
  const std::string thread = "thread " + std::to_string(fiber.thread);
  return thread + (fiber.state == State::kReturned ? " has returned"
                                                   : " waits in " + std::string(fiber.function));
}

[[noreturn]] void throw_fault(const std::string& what) {
  fibers.clear();  // they stand in the middle of the kernel
  throw Fault("block " + std::to_string(blockIdx.x) + ": " + what);
}

// Opens the barrier if all of [begin, end) wait at it, in the same function.
bool open_barrier(unsigned begin, unsigned end, State barrier) {
  for (unsigned i = begin; i < end; ++i) {
    if (fibers[i].state != barrier) return false;
  }
  for (unsigned i = begin; i < end; ++i) {
    if (fibers[i].function != fibers[begin].function) {
      throw_fault("one barrier, two functions: " + where(fibers[begin]) + ", " + where(fibers[i]));
    }
    fibers[i].state = State::kReady;
  }
  return true;
}

[[noreturn]] void throw_deadlock(unsigned threads) {
  const Fiber* waiting = nullptr;
  for (unsigned i = 0; i < threads && !waiting; ++i) {
    if (fibers[i].state != State::kReturned) waiting = &fibers[i];
  }
  const bool warp = waiting->state == State::kAtWarpBarrier;
  const unsigned begin = warp ? waiting->thread / kWarp * kWarp : 0;
  const unsigned end = warp ? begin + kWarp : threads;
  for (unsigned i = begin; i < end; ++i) {
    if (fibers[i].state != waiting->state) {
      throw_fault("a barrier that not every thread reaches: " + where(*waiting) + ", " +
                  where(fibers[i]));
    }
  }
  std::abort();
}

void run_block(unsigned threads, const std::vector<unsigned>& turns) {
  std::fill_n(shared.get(), shared_size, static_cast<unsigned char>(0xff));
  for (unsigned i = 0; i < threads; ++i) {
    fibers[i].state = State::kReady;
    fibers[i].warp_meetings = 0;
  }
  for (;;) {
    bool returned = true;
    for (const unsigned i : turns) {
      if (fibers[i].state == State::kReady) resume(fibers[i]);
      if (!fault.empty()) throw_fault(std::exchange(fault, {}));
      returned = returned && fibers[i].state == State::kReturned;
    }
    if (returned) return;
    bool opened = false;
    for (unsigned i = 0; i + kWarp <= threads; i += kWarp) {
      opened |= open_barrier(i, i + kWarp, State::kAtWarpBarrier);
    }
    if (open_barrier(0, threads, State::kAtBlockBarrier)) {
      opened = true;
      true_predicates = 0;
      for (unsigned i = 0; i < threads; ++i) true_predicates += fibers[i].predicate;
    }
    if (!opened) throw_deadlock(threads);
  }
}

}  // namespace

int take_error() { return std::exchange(error, kSuccess); }

const char* describe(int code) {
  switch (code) {
    case kSuccess:
      return "no error";
    case kInvalidValue:
      return "invalid argument: more shared memory than a block has";
    case kInvalidConfiguration:
      return "invalid configuration: no blocks or threads, or more than a launch takes";
    default:
      return "unrecognized error code";
  }
}

unsigned char* shared_memory() { return shared.get(); }

void run_grid(unsigned blocks, unsigned threads, size_t shared_bytes, void (*body)(void*),
              void* data) {
  if (blocks == 0 || blocks > max_blocks || threads == 0 || threads > kMaxThreads) {
    error = kInvalidConfiguration;
    return;
  }
  if (shared_bytes > kMaxSharedBytes) {
    error = kInvalidValue;
    return;
  }
  thread_body = body, thread_data = data;
  gridDim.x = blocks, blockDim.x = threads;
  fibers.reserve(kMaxThreads);  // each refers to itself on its stack
  while (fibers.size() < threads) add_fiber();
  if (!shared || shared_size != shared_bytes) {
    shared.reset(new unsigned char[shared_bytes]);
    shared_size = shared_bytes;
  }
  const Permutation turn(threads), block(blocks);
  std::vector<unsigned> turns(threads);
  for (unsigned i = 0; i < threads; ++i) turns[i] = turn[i];
  for (unsigned i = 0; i < blocks; ++i) {
    blockIdx.x = block[i];
    run_block(threads, turns);
  }
}

int meet_block(const char* function, bool predicate) {
  current->predicate = predicate;
  wait(State::kAtBlockBarrier, function);
  return true_predicates;
}

const uint64_t* meet_warp(const char* function, unsigned mask, uint64_t value) {
  Fiber& self = *current;
  if (mask != kWholeWarp || blockDim.x % kWarp != 0) {
    fault = "thread " + std::to_string(self.thread) + " calls " + function +
            (mask != kWholeWarp ? " without its whole warp" : " in a warp of less than 32 threads");
    switch_to_scheduler();
  }
  uint64_t* const buffer = passed[self.warp_meetings++ % 2];
  buffer[self.thread] = value;
  wait(State::kAtWarpBarrier, function);
  return buffer + self.thread / kWarp * kWarp;
}

}  // namespace cuda_emulator
