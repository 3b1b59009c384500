// The kernels against their plain twin. Exit code 0: everything held; 1: something did not, and a line says what.
//
//   test_kernels isa                   the instruction set in use
//   test_kernels random SEED COUNT     COUNT cases of every kind
//   test_kernels cases < FILE          cases as read_case() takes them
//   test_kernels peaks SEED            scores of every height, in every order
//   test_kernels threads SEED          one operator, many threads
//   test_kernels hostile SEED COUNT    what is wrong is refused
//   test_kernels simd                  the primitive operations of the instruction set in use
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests.h"

namespace {

std::string current;

// A guard page was hit: which case was it?
void crashed(int signal) {
  const char text[] = "crashed in: ";
  (void)!write(2, text, sizeof text - 1);
  (void)!write(2, current.data(), current.size());
  (void)!write(2, "\n", 1);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void begin(const std::string& what) { current = what; }

bool fail(const std::string& why) {
  std::printf("FAILED: %s\n  in %s (%s)\n", why.c_str(), current.c_str(), mfedge_isa());
  return false;
}

int main(int count, char** arguments) {
  const auto number = [&](int i) { return i < count ? std::strtoull(arguments[i], nullptr, 10) : 1; };
  const std::string command = count > 1 ? arguments[1] : "";
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) std::signal(signal, crashed);
  bool held = false;
  if (command == "isa") {
    std::puts(mfedge_isa());
    held = mfedge_abi_version() == MFEDGE_ABI_VERSION;
  } else if (command == "random") {
    held = test_random(number(2), static_cast<int>(number(3)));
  } else if (command == "cases") {
    held = test_cases(stdin);
  } else if (command == "peaks") {
    held = test_peaks(number(2));
  } else if (command == "threads") {
    held = test_threads(number(2));
  } else if (command == "simd") {
    const std::string isa = mfedge_isa();
#define MFEDGE_ISA(name, runs) \
  if (isa == #name) held = mfedge::name::test_simd();
#include "../../mfedge/kernels/isa/isas.inc"
  } else if (command == "hostile") {
    held = test_hostile(number(2), static_cast<int>(number(3)));
  } else {
    std::fprintf(stderr, "test_kernels: expected isa, random, cases, peaks, threads, hostile or simd, found '%s'\n",
                 command.c_str());
    return 2;
  }
  return held ? 0 : 1;
}
