// The kernels against their plain twin. Exit code 0: everything held; 1: something did not, and a line says what.
//
//   test_kernels isa                   the instruction set in use
//   test_kernels random SEED COUNT     COUNT cases of every kind
//   test_kernels cases < FILE          cases as read_case() takes them
//   test_kernels peaks SEED            scores of every height, in every order
//   test_kernels scores SEED COUNT     scores of any size
//   test_kernels undefined SEED COUNT  NaN and infinities in inputs and weights
//   test_kernels modes SEED            subnormals, and threads that round, flush or trap in their own way
//   test_kernels limits SEED PIXELS COUNT  COUNT maps of so many pixels, very wide or very high; all of them if 0
//   test_kernels channels SEED         every field of a configuration at its highest
//   test_kernels threads SEED          one operator, many threads
//   test_kernels fork SEED COUNT       COUNT children, forked while threads run
//   test_kernels hostile SEED COUNT    what is wrong is refused
//   test_kernels simd STRIDE           the primitive operations of the instruction set in use; of erf every STRIDEth float
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>

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

bool test_simd(int stride) {
  const std::string isa = mfedge_isa();
#define MFEDGE_ISA(name, runs) \
  if (isa == #name) return mfedge::name::test_simd(stride);
#include "../../mfedge/kernels/isa/isas.inc"
  return false;
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
  const int some = static_cast<int>(number(3));
  const std::map<std::string, std::function<bool()>> tests = {
      {"isa", [] { return std::puts(mfedge_isa()) >= 0 && mfedge_abi_version() == MFEDGE_ABI_VERSION; }},
      {"random", [&] { return test_random(number(2), some); }},
      {"cases", [] { return test_cases(stdin); }},
      {"peaks", [&] { return test_peaks(number(2)); }},
      {"scores", [&] { return test_scores(number(2), some); }},
      {"undefined", [&] { return test_undefined(number(2), some); }},
      {"modes", [&] { return test_modes(number(2)); }},
      {"limits", [&] { return test_limits(number(2), static_cast<int64_t>(number(3)), static_cast<int>(number(4))); }},
      {"channels", [&] { return test_channels(number(2)); }},
      {"threads", [&] { return test_threads(number(2)); }},
      {"fork", [&] { return test_fork(number(2), some); }},
      {"hostile", [&] { return test_hostile(number(2), some); }},
      {"simd", [&] { return test_simd(static_cast<int>(number(2))); }},
  };
  const auto test = tests.find(command);
  if (test == tests.end()) {
    std::fprintf(stderr, "test_kernels: expected one of the commands of main.cpp, found '%s'\n", command.c_str());
    return 2;
  }
  return test->second() ? 0 : 1;
}
