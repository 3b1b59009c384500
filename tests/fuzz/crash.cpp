// A handler of fatal signals that writes the native frames of the thread that died, innermost first, to a descriptor.
//
// Python's faulthandler writes Python's frames only, and those cannot tell a crash of a runtime from one of mfedge's
// own kernels that the runtime has called.
#include <execinfo.h>
#include <signal.h>
#include <unistd.h>

#include <initializer_list>

static int output = -1;

static void on_signal(int number) {
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), output);
  signal(number, SIG_DFL);
  raise(number);
}

extern "C" void install(int descriptor) {
  static char stack[1 << 18];  // of its own: a stack that has overflowed has no room for a handler
  output = descriptor;
  void* frame;
  backtrace(&frame, 1);  // the first call loads a library, which a handler must not do
  stack_t alternate = {};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(number, &action, nullptr);
}
