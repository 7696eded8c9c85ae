// A plugin in C++ that forgets its barrier: an exception leaves process().
#include <stdexcept>

#include "keylane_plugin.h"

KEYLANE_PLUGIN_MANIFEST("org.example.throws", "1.0.0", 0, 1);

namespace {

keylane_status process(keylane_processor *, const keylane_batch *, keylane_batch_result *) {
  throw std::runtime_error("nobody catches this");
}

void destroy(keylane_processor *self) { delete self; }

keylane_descriptor make_descriptor() {
  keylane_descriptor d{};
  d.struct_size = sizeof d;
  d.id = "org.example.throws";
  d.version = "1.0.0";
  return d;
}

uint32_t count() { return 1; }

const keylane_descriptor *descriptor(uint32_t) {
  static const keylane_descriptor d = make_descriptor();
  return &d;
}

keylane_status create(const char *, const keylane_host *, const keylane_create_args *, keylane_processor **out,
                      keylane_error *) {
  auto *self = new keylane_processor{};
  self->struct_size = sizeof *self;
  self->process = process;
  self->destroy = destroy;
  *out = self;
  return KEYLANE_OK;
}

const keylane_factory factory = {sizeof(keylane_factory), 0, count, descriptor, nullptr, create};

const void *get_factory(const char *) { return &factory; }

} // namespace

extern "C" KEYLANE_EXPORT const keylane_entry keylane_plugin_entry_v1 = {
    KEYLANE_MAGIC, sizeof(keylane_entry), KEYLANE_ABI_VERSION, KEYLANE_LAYOUT, nullptr, nullptr, get_factory};
