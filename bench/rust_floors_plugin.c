// The floor programs in Rust (lab/programs/src/floors.rs) as a plug-in of the xbench harness, next to its floors in C.
//
// `rust_service` does what the harness's `set4_vip_1stat` does, and `rust_line` what `set4` does. `new/rust_lru` does what its
// `new/lru` does, with the same number of places in the table.
//
//   gcc -O2 -Wall -shared -fPIC -I HARNESS -o rust_floors_plugin.so rust_floors_plugin.c
//   FLOORS_OBJECT=target/bpf/bpfel-unknown-none/bpf/bench-floors ./xbench ./floor_plugin.so ./rust_floors_plugin.so
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "xbench.h"

enum { BACKENDS = 64, WAYS = 4 };

// arg: number of places in the table
static int tune(struct bpf_object *o, const struct xb_case *c)
{
	int is_lru = !strcmp(c->prog, "lru");
	struct bpf_program *p;
	bpf_object__for_each_program(p, o) bpf_program__set_autoload(p, !strcmp(bpf_program__name(p), c->prog));
	if (bpf_map__set_max_entries(bpf_object__find_map_by_name(o, "LRU"), is_lru ? c->arg : 1)) return -1;
	return bpf_map__set_max_entries(bpf_object__find_map_by_name(o, "TABLE"), is_lru ? 1 : c->arg / WAYS);
}

static int fill(struct bpf_object *o, const struct xb_case *c)
{
	uint64_t state[2] = {c->arg / WAYS - 1, 0};
	struct { uint8_t vip[4]; uint16_t port, protocol; } service = {{192, 0, 2, 1}, htons(80), 6};
	uint32_t zero = 0, one = 1;
	for (uint32_t i = 0; i < BACKENDS; i++) {
		uint8_t macs[12] = {0x06, 0, 0, 0, 1, i, 0x02, 0, 0, 0, 0, 1};
		if (xb_put(o, "BACKENDS", &i, macs)) return -1;
	}
	return xb_put(o, "STATE", &zero, state) || xb_put(o, "SERVICES", &service, &one);
}

static int forwarded(const struct xb_case *c, const uint8_t *in, int il, const uint8_t *out, int ol)
{
	return il != ol || out[0] != 6 || memcmp(in + 12, out + 12, il - 12);
}

static void report(struct bpf_object *o, const struct xb_case *c, char *s, int n)
{
	uint64_t state[2];
	uint32_t zero = 0;
	if (!bpf_map_lookup_elem(xb_map(o, "STATE"), &zero, state)) snprintf(s, n, "misses %llu", (unsigned long long)state[1]);
}

static char object[512];

#define CASE(n, program, f, places) \
	{.name = n, .obj = object, .prog = program, .pkt = {XB_V4, 6, 0x10, 0, 80, "10.1.0.1", "192.0.2.1"}, .flows = f, \
	 .expect = XB_TX, .tune = tune, .fill = fill, .check = forwarded, .report = report, .arg = places}
#define SIZES(n, program) \
	CASE(n "/1k", program, 1 << 10, 1 << 20), CASE(n "/64k", program, 1 << 16, 1 << 20), CASE(n "/1M", program, 1 << 20, 1 << 21)

struct xb_case xb_cases[] = {
	SIZES("rust_line", "line"), SIZES("rust_service", "service"), SIZES("rust_lru", "lru"), CASE("new/rust_lru", "lru", 0, 1 << 20),
};
int xb_ncases = sizeof xb_cases / sizeof *xb_cases;

__attribute__((constructor)) static void find_object(void)
{
	const char *path = getenv("FLOORS_OBJECT");
	snprintf(object, sizeof object, "%s", path ? path : "bench-floors");
}
