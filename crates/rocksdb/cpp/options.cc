// What Highwater has to set and RocksDB's C API does not offer: the shared memory of databases, and the options that
// nothing may override. The first member of the API's `rocksdb_options_t` is the `Options` of C++.

#include <cstddef>
#include <memory>

#include "rocksdb/advanced_cache.h"
#include "rocksdb/cache.h"
#include "rocksdb/comparator.h"
#include "rocksdb/convenience.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/merge_operator.h"
#include "rocksdb/options.h"
#include "rocksdb/table.h"
#include "rocksdb/write_buffer_manager.h"

using namespace ROCKSDB_NAMESPACE;

struct rocksdb_options_t {
  Options rep;
};

struct highwater_memory {
  std::shared_ptr<Cache> cache;
  std::shared_ptr<WriteBufferManager> buffers;
};

struct highwater_memory_usage {
  size_t cache_capacity;
  size_t cache_usage;
  size_t cache_pinned;
  size_t buffer_capacity;
  size_t buffer_usage;
};

namespace {

constexpr int kOk = 0;
constexpr int kNoMergeOperator = 1;
constexpr int kException = 2;

const BlockBasedTableOptions* block_based(const ColumnFamilyOptions& options) {
  return options.table_factory ? options.table_factory->GetOptions<BlockBasedTableOptions>() : nullptr;
}

// The first option of a database that a store cannot live with, by its name in RocksDB; null if there is none.
const char* refused_database(const DBOptions& options) {
  if (options.env != Env::Default()) return "env";
  if (!options.db_paths.empty()) return "db_paths";
  if (options.compaction_service != nullptr) return "compaction_service";
  if (options.allow_ingest_behind) return "allow_ingest_behind";
  if (options.row_cache != nullptr) return "row_cache";
  return nullptr;
}

// The same of a column family.
const char* refused_columns(const ColumnFamilyOptions& options) {
  if (options.comparator != BytewiseComparator()) return "comparator";
  if (options.compaction_filter != nullptr) return "compaction_filter";
  if (options.compaction_filter_factory != nullptr) return "compaction_filter_factory";
  if (options.compaction_style == kCompactionStyleFIFO) return "compaction_style=kCompactionStyleFIFO";
  if (options.compaction_style == kCompactionStyleNone) return "compaction_style=kCompactionStyleNone";
  if (!options.cf_paths.empty()) return "cf_paths";
  if (options.cf_allow_ingest_behind) return "cf_allow_ingest_behind";
  if (options.enable_blob_files) return "enable_blob_files";
  if (options.inplace_update_support) return "inplace_update_support";
  if (options.disallow_memtable_writes) return "disallow_memtable_writes";
  const auto* table = block_based(options);
  if (table == nullptr) return "table_factory";
  if (table->user_defined_index_factory != nullptr) return "user_defined_index_factory";
  return nullptr;
}

// The options were looked through before.
int force_columns(Options& options, const highwater_memory* memory, bool partitioned) {
  ConfigOptions config;
  if (!MergeOperator::CreateFromString(config, "stringappendtest", &options.merge_operator).ok()) {
    return kNoMergeOperator;
  }
  BlockBasedTableOptions table = *block_based(options);
  table.format_version = 5;
  table.checksum = kCRC32c;
  if (memory != nullptr) {
    table.no_block_cache = false;
    table.block_cache = memory->cache;
    table.cache_index_and_filter_blocks = true;
    table.cache_index_and_filter_blocks_with_high_priority = true;
    table.pin_l0_filter_and_index_blocks_in_cache = true;
    for (auto role : {CacheEntryRole::kBlockBasedTableReader, CacheEntryRole::kFilterConstruction,
                      CacheEntryRole::kFileMetadata}) {
      table.cache_usage_options.options_overrides[role].charged = CacheEntryRoleOptions::Decision::kEnabled;
    }
    if (partitioned) {
      table.index_type = BlockBasedTableOptions::kTwoLevelIndexSearch;
      table.partition_filters = true;
      table.pin_top_level_index_and_filter = true;
      if (table.filter_policy != nullptr) table.filter_policy.reset(NewBloomFilterPolicy(10.0));
    }
  }
  options.table_factory.reset(NewBlockBasedTableFactory(table));
  return kOk;
}

}  // namespace

extern "C" {

highwater_memory* highwater_memory_create(size_t cache_capacity, double high_priority_ratio, size_t buffer_capacity) {
  try {
    LRUCacheOptions options;
    options.capacity = cache_capacity;
    options.high_pri_pool_ratio = high_priority_ratio;
    auto memory = std::make_unique<highwater_memory>();
    memory->cache = options.MakeSharedCache();
    if (memory->cache == nullptr) return nullptr;
    // Writers wait while the buffers exceed their capacity: without this they outgrow it several times. What is
    // flushed then is the largest buffer of all databases; were it one of the writer's own database, a writer could
    // wait for ever for memory that an idle database holds.
    memory->buffers = std::make_shared<WriteBufferManager>(buffer_capacity, memory->cache, /*allow_stall=*/true,
                                                           WriteBufferFlushPolicy::kFlushLargestAcrossDBs);
    return memory.release();
  } catch (...) {
    return nullptr;
  }
}

void highwater_memory_destroy(highwater_memory* memory) { delete memory; }

highwater_memory_usage highwater_memory_used(const highwater_memory* memory) {
  return {memory->cache->GetCapacity(), memory->cache->GetUsage(), memory->cache->GetPinnedUsage(),
          memory->buffers->buffer_size(), memory->buffers->memory_usage()};
}

void highwater_force_database(rocksdb_options_t* options, const highwater_memory* memory) {
  if (memory != nullptr) options->rep.write_buffer_manager = memory->buffers;
}

const char* highwater_refused_database(const rocksdb_options_t* options) { return refused_database(options->rep); }

const char* highwater_refused_columns(const rocksdb_options_t* options) { return refused_columns(options->rep); }

int highwater_force_columns(rocksdb_options_t* options, const highwater_memory* memory, bool partitioned) {
  try {
    return force_columns(options->rep, memory, partitioned);
  } catch (...) {
    return kException;
  }
}

}  // extern "C"
