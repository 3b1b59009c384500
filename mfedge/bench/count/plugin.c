// A plugin of qemu-user: how often each block of a program runs between two marks, and what misses the caches.
//
//   qemu-aarch64 -plugin plugin.so,out=FILE,line=64,l1=64K:4,l2=512K:8 PROGRAM
//
// A mark is the system call MARK, which no kernel has. The first mark begins to count. Each later one writes a region
// to FILE: for each block that ran since the mark before a record, its code and the misses of each instruction, and
// then a record with an address of all ones. blocks.py reads FILE; aarch64.py and x86_64.py tell
// the classes of the instructions.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK 77777
#define API __attribute__((visibility("default")))

// --- What is used of version 1 of QEMU's plugin interface, as no package of Debian has its header. ------------------

typedef uint64_t Plugin;
typedef struct Translation Translation;  // a block of instructions that QEMU translates at once
typedef struct Instruction Instruction;
typedef uint32_t Access;

void qemu_plugin_reset(Plugin, void (*done)(Plugin));
void qemu_plugin_register_vcpu_tb_trans_cb(Plugin, void (*)(Plugin, Translation*));
void qemu_plugin_register_vcpu_tb_exec_inline(Translation*, int operation, void* counter, uint64_t addend);
void qemu_plugin_register_vcpu_mem_cb(Instruction*, void (*)(unsigned cpu, Access, uint64_t address, void* user),
                                      int registers, int loads_and_stores, void* user);
void qemu_plugin_register_vcpu_syscall_cb(Plugin, void (*)(Plugin, unsigned cpu, int64_t number, uint64_t, uint64_t,
                                                           uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const Translation*);
uint64_t qemu_plugin_tb_vaddr(const Translation*);
Instruction* qemu_plugin_tb_get_insn(const Translation*, size_t);
const void* qemu_plugin_insn_data(const Instruction*);
size_t qemu_plugin_insn_size(const Instruction*);
unsigned qemu_plugin_mem_size_shift(Access);

enum { ADD_U64 = 0, NO_REGISTERS = 0, LOADS_AND_STORES = 3 };
API int qemu_plugin_version = 1;

// --- Blocks. One that QEMU translates again keeps its counters. -----------------------------------------------------

enum { MOST_BYTES = 8192, BUCKETS = 65536 };  // QEMU ends a block after 512 instructions

typedef struct {
  uint64_t address, runs;
  uint32_t instructions, bytes;
} Record;

typedef struct Block {
  struct Block* next;
  Record record;
  uint64_t (*misses)[2];  // of each instruction: accesses that miss the first level, and the second too
  unsigned char code[];
} Block;

static Block* blocks[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE* out;

static Block* block_of(const Translation* translation) {
  Record record = {.address = qemu_plugin_tb_vaddr(translation), .instructions = qemu_plugin_tb_n_insns(translation)};
  unsigned char code[MOST_BYTES];
  for (size_t i = 0; i < record.instructions; ++i) {
    const Instruction* instruction = qemu_plugin_tb_get_insn(translation, i);
    const size_t size = qemu_plugin_insn_size(instruction);
    if (record.bytes + size > sizeof code) abort();
    memcpy(code + record.bytes, qemu_plugin_insn_data(instruction), size);
    record.bytes += size;
  }
  Block** bucket = &blocks[record.address * 0x9E3779B97F4A7C15u >> 48];
  for (Block* block = *bucket; block; block = block->next) {
    if (block->record.address == record.address && block->record.bytes == record.bytes &&
        memcmp(block->code, code, record.bytes) == 0) {
      return block;
    }
  }
  Block* block = malloc(sizeof *block + record.bytes);
  uint64_t(*misses)[2] = calloc(record.instructions, sizeof *misses);
  if (!block || !misses) abort();
  *block = (Block){*bucket, record, misses};
  memcpy(block->code, code, record.bytes);
  return *bucket = block;
}

// --- Two levels of cache without a prefetcher: sets of lines, of which the least recently used one is replaced. ------

typedef struct {
  uint64_t sets, ways;
  uint64_t* lines;  // of each set its lines, the most recently used one first
} Cache;

static Cache caches[2];
static unsigned line_shift;

static int hits(const Cache* cache, uint64_t line) {
  uint64_t* set = cache->lines + (line % cache->sets) * cache->ways;
  uint64_t way = 0;
  while (way < cache->ways - 1 && set[way] != line) ++way;
  const int found = set[way] == line;
  memmove(set + 1, set, way * sizeof *set);
  set[0] = line;
  return found;
}

static void accessed(unsigned cpu, Access access, uint64_t address, void* user) {
  (void)cpu;
  uint64_t* misses = user;
  const uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(access)) - 1) >> line_shift;
  for (uint64_t line = address >> line_shift; line <= last; ++line) {
    for (int level = 0; level < 2 && !hits(&caches[level], line); ++level) ++misses[level];
  }
}

// "64K:4": KiB and ways. 0 if it is so.
static int make_cache(Cache* cache, const char* text) {
  char* end = NULL;
  const uint64_t lines = strtoull(text, &end, 10) << 10 >> line_shift;
  if (strncmp(end, "K:", 2)) return 1;
  cache->ways = strtoull(end + 2, NULL, 10);
  if (!cache->ways || !(cache->sets = lines / cache->ways)) return 1;
  cache->lines = calloc(cache->sets * cache->ways, sizeof *cache->lines);
  return !cache->lines;
}

// --- The callbacks. -------------------------------------------------------------------------------------------------

static void translated(Plugin plugin, Translation* translation) {
  (void)plugin;
  pthread_mutex_lock(&lock);
  Block* block = block_of(translation);
  pthread_mutex_unlock(&lock);
  qemu_plugin_register_vcpu_tb_exec_inline(translation, ADD_U64, &block->record.runs, 1);
  for (size_t i = 0; i < block->record.instructions; ++i) {
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(translation, i), accessed, NO_REGISTERS, LOADS_AND_STORES,
                                     block->misses[i]);
  }
}

static void write_region(void) {
  static const Record end = {.address = UINT64_MAX};
  for (int i = 0; i < BUCKETS; ++i) {
    for (Block* block = blocks[i]; block; block = block->next) {
      const size_t size = block->record.instructions * sizeof *block->misses;
      if (block->record.runs) {
        fwrite(&block->record, sizeof block->record, 1, out);
        fwrite(block->code, block->record.bytes, 1, out);
        fwrite(block->misses, size, 1, out);
      }
      block->record.runs = 0;
      memset(block->misses, 0, size);
    }
  }
  fwrite(&end, sizeof end, 1, out);
  if (fflush(out)) abort();  // the disk is full
}

static void called(Plugin plugin, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h);

static void begin(Plugin plugin) {
  qemu_plugin_register_vcpu_tb_trans_cb(plugin, translated);
  qemu_plugin_register_vcpu_syscall_cb(plugin, called);
}

static void called(Plugin plugin, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  static int counting;
  (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != MARK) return;
  if (counting) {
    pthread_mutex_lock(&lock);
    write_region();
    pthread_mutex_unlock(&lock);
  } else {
    qemu_plugin_reset(plugin, begin);  // so that QEMU translates again, counters included, what it has up to now
  }
  counting = 1;
}

API int qemu_plugin_install(Plugin plugin, const void* info, int count, char** arguments) {
  (void)info;
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    const char* value = strchr(arguments[i], '=');
    if (!value++) return 1;
    if (!strncmp(arguments[i], "out=", 4)) out = fopen(value, "wb");
    if (!strncmp(arguments[i], "line=", 5)) line_shift = __builtin_ctz(strtoul(value, NULL, 10) | 1u << 31);
    if (!strncmp(arguments[i], "l1=", 3)) wrong |= make_cache(&caches[0], value);
    if (!strncmp(arguments[i], "l2=", 3)) wrong |= make_cache(&caches[1], value);
  }
  if (wrong || !out || !caches[0].lines || !caches[1].lines) return 1;
  qemu_plugin_register_vcpu_syscall_cb(plugin, called);
  return 0;
}
