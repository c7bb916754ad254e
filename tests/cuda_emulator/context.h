// Stacks that take turns: assembly on x86-64; elsewhere ucontext.h, which asks the kernel each
// time. Not setjmp: AddressSanitizer forgets what it knows of a stack that longjmp leaves.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)

// Pushes the registers that a call preserves, exchanges the stacks and pops them again.
extern "C" void cuda_emulator_switch(void** from, void* to);
asm(R"(
.text
.type cuda_emulator_switch, @function
cuda_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulator_switch, . - cuda_emulator_switch
)");

namespace cuda_emulator {

using Context = void*;  // the top of the stack

// The context that starts with entry(), which never returns.
inline void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
  const uintptr_t end = (reinterpret_cast<uintptr_t>(stack) + bytes) / 16 * 16;
  void** top = reinterpret_cast<void**>(end);
  *--top = nullptr;  // where entry() would return to
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context = top;
}

inline void switch_context(Context& from, Context& to) { cuda_emulator_switch(&from, to); }

}  // namespace cuda_emulator

#else

#include <ucontext.h>

namespace cuda_emulator {

using Context = ucontext_t;

inline void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

}  // namespace cuda_emulator

#endif
