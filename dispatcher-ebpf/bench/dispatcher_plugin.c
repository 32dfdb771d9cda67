// The dispatcher's object as a plug-in of the xbench harness (ns/packet by BPF_PROG_TEST_RUN, driven flow by flow).
//
// There is one NIC (index 0) with the address that the harness's frames carry. Services on 192.0.2.1 and 2001:db8:1::1, TCP
// and UDP, port 80, have eight backends each. The layouts are those of dispatcher-common.
//
//   gcc -O2 -Wall -shared -fPIC -I HARNESS -o dispatcher_plugin.so dispatcher_plugin.c
//   DISPATCHER_OBJECT=target/bpf/bpfel-unknown-none/bpf/datapath ./xbench ./floor_plugin.so ./dispatcher_plugin.so
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "xbench.h"

enum { BACKENDS = 8, SPACE = 20, SERVICES = 4, REASONS = 32, FILTER_BITS = 1 << 16 };
enum { USABLE = 1, UP = 2, NEW = 4, PRESENT = 16 };
enum { MEASURED = 256, EXCHANGE_SIZE = 32, RESPONSES_SIZE = 128, SLOTS = 1 << 14, NICS = 64 };

struct config { uint32_t bucket_mask, interface; uint64_t jiffy_ns, jiffies_epoch, hash_keys[12], schedule_keys[2]; };
struct settings {
	uint64_t hash_keys[12], schedule_keys[2], buckets, capacity, expiry_ticks[8], overflow_entries, syn_guard, reserved[5], version;
};
struct policy { uint64_t schedule, choices, stale_ticks, reserved[5]; };
struct backend { uint64_t forward; uint32_t service, share; };
struct interface { uint64_t mac; uint32_t ifindex, reserved; };
struct service_key { uint8_t vip[16], port[2], protocol, reserved; };
struct counts { uint64_t packets, bytes; };

static const uint8_t own_mac[6] = {0x02, 0, 0, 0, 0, 0x01};  // mac_dst of the harness's frames

static void make_config(struct config *c, uint32_t buckets)
{
	uint64_t x = 0x1234567;
	for (int i = 0; i < 14; i++) {
		x ^= x << 13; x ^= x >> 7; x ^= x << 17;
		*(i < 12 ? &c->hash_keys[i] : &c->schedule_keys[i - 12]) = x | 1;
	}
	c->bucket_mask = buckets - 1;
	c->jiffy_ns = 4000000;  // nobody sweeps: any clock will do
}

static uint64_t forward(uint8_t last, uint8_t flags)
{
	uint8_t b[8] = {0x06, 0, 0, 0, 1, last, 0, flags};  // MAC, interface, flags
	uint64_t w;
	memcpy(&w, b, 8);
	return w;
}

// As filter_bit_of in dispatcher-common.
static uint32_t filter_bit(const uint8_t *a)
{
	uint32_t w[4], f;
	memcpy(w, a, 16);
	if (!w[0] && !w[1] && w[2] == htonl(0xffff)) {
		f = w[3];
	} else {
		uint64_t x = (w[0] | (uint64_t)w[1] << 32) * 0x9E3779B97F4A7C15ull;
		uint64_t y = (w[2] | (uint64_t)w[3] << 32) ^ x ^ x >> 29;
		f = y ^ y >> 32;
	}
	return (f * 0x9E3779B1u) >> 16 & (FILTER_BITS - 1);
}

// arg: log2 of the number of ways, and whether connections are measured
static int tune(struct bpf_object *o, const struct xb_case *c)
{
	uint32_t buckets = 1u << (c->arg & 255) >> 3;
	struct bpf_map *m;
	bpf_object__for_each_map(m, o) {
		if (!strstr(bpf_map__name(m), ".rodata")) continue;
		size_t size;
		struct config *g = (void *)bpf_map__initial_value(m, &size);
		if (size < sizeof *g) return -1;
		memset(g, 0, sizeof *g);
		make_config(g, buckets);
	}
	if (bpf_map__set_max_entries(bpf_object__find_map_by_name(o, "CONNECTIONS"), buckets)) return -1;
	return bpf_map__set_max_entries(bpf_object__find_map_by_name(o, "FLOWS"), buckets);
}

static int fill_settings(struct bpf_object *o, uint32_t buckets)
{
	struct config g = {0};
	struct settings s = {.buckets = buckets, .syn_guard = ~0ull, .version = 2};
	uint32_t zero = 0;
	make_config(&g, buckets);
	memcpy(s.hash_keys, g.hash_keys, sizeof s.hash_keys + sizeof s.schedule_keys);
	uint64_t ticks[8] = {0, 8, 8, 8, 0, 8, 70, 8};
	memcpy(s.expiry_ticks, ticks, sizeof ticks);
	return xb_put(o, "SETTINGS", &zero, &s);
}

// Allocates the memory of measurement; the maps hold it from then on.
static int fill_measurement(struct bpf_object *o, uint32_t ways)
{
	LIBBPF_OPTS(bpf_map_create_opts, flags, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	uint32_t zero = 0;
	int exchanges = bpf_map_create(BPF_MAP_TYPE_ARRAY, "exchanges", 4, EXCHANGE_SIZE, ways, &flags);
	int responses = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "responses", 4, RESPONSES_SIZE, SLOTS, NULL);
	if (exchanges < 0 || responses < 0) return -1;
	int failed = xb_put(o, "EXCHANGES", &zero, &exchanges) || xb_put(o, "RESPONSES", &zero, &responses);
	close(exchanges);
	close(responses);
	return failed;
}

// Maps that are sections of the object: one value each.
struct sections {
	uint8_t filter[FILTER_BITS / 8];
	struct backend backends[SLOTS];
	struct interface interfaces[NICS];
};

static int put_sections(struct bpf_object *o, const struct sections *s)
{
	uint32_t zero = 0;
	return xb_put(o, ".data.filter", &zero, s->filter) || xb_put(o, ".data.backends", &zero, s->backends) ||
	       xb_put(o, ".data.interfaces", &zero, s->interfaces);
}

static int fill_service(struct bpf_object *o, uint32_t id, const char *vip, uint8_t protocol, struct sections *sections, uint64_t measured)
{
	struct service_key k = {.port = {0, 80}, .protocol = protocol};
	// Orphans are scheduled: an ACK creates an entry as a SYN would, and the flow's next packet makes it established.
	struct policy p = {.schedule = (uint64_t)(id * SPACE) << 32 | BACKENDS, .choices = 1, .stale_ticks = 70};
	uint32_t services = 2;
	if (strchr(vip, ':')) {
		inet_pton(AF_INET6, vip, k.vip);
	} else {
		memset(k.vip + 10, 0xff, 2);
		inet_pton(AF_INET, vip, k.vip + 12);
	}
	for (uint32_t i = 0; i < BACKENDS; i++) {
		uint32_t slot = 1 + id * BACKENDS + i;
		uint64_t way = forward(slot, USABLE | UP | NEW | PRESENT) | measured;
		sections->backends[slot] = (struct backend){.forward = way, .service = id, .share = 1u << 24};
	}
	// The ring, the number of its members, and the members.
	uint16_t ring[SPACE] = {[BACKENDS] = BACKENDS};
	for (uint32_t i = 0; i < BACKENDS; i++) ring[i] = ring[BACKENDS + 1 + i] = 1 + id * BACKENDS + i;
	for (uint32_t i = 0; i < SPACE; i += 4) {
		uint32_t pack = (id * SPACE + i) / 4;
		if (xb_put(o, "SCHEDULES", &pack, ring + i)) return -1;
	}
	uint32_t bit = filter_bit(k.vip);
	sections->filter[bit / 8] |= 1 << bit % 8;
	return xb_put(o, "POLICIES", &id, &p) || xb_put(o, "VIPS", k.vip, &services) || xb_put(o, "SERVICES", &k, &id);
}

static int fill(struct bpf_object *o, const struct xb_case *c)
{
	static struct sections sections;
	memset(&sections, 0, sizeof sections);
	sections.interfaces[0].ifindex = 1;
	memcpy(&sections.interfaces[0].mac, own_mac, 6);
	sections.interfaces[0].mac |= 1ull << 56;
	if (fill_settings(o, 1u << (c->arg & 255) >> 3)) return -1;
	uint64_t measured = c->arg & MEASURED ? 1ull << 55 : 0;
	if (measured && fill_measurement(o, 1u << (c->arg & 255))) return -1;
	for (uint32_t s = 0; s < SERVICES; s++)
		if (fill_service(o, s, s & 1 ? "2001:db8:1::1" : "192.0.2.1", s & 2 ? 17 : 6, &sections, s & 2 ? 0 : measured)) return -1;
	return put_sections(o, &sections);
}

static int forwarded(const struct xb_case *c, const uint8_t *in, int il, const uint8_t *out, int ol)
{
	return il != ol || out[0] != 6 || out[4] != 1 || memcmp(out + 6, own_mac, 6) || memcmp(in + 12, out + 12, il - 12);
}

static int untouched(const struct xb_case *c, const uint8_t *in, int il, const uint8_t *out, int ol)
{
	return il != ol || memcmp(in, out, il);
}

// Prints the reasons counted, and how many connections the backends got.
static void report(struct bpf_object *o, const struct xb_case *c, char *s, int n)
{
	int cpus = libbpf_num_possible_cpus(), fd = xb_map(o, "PACKET_COUNTS"), used = 0;
	struct counts v[cpus];
	for (uint32_t r = 0; r < REASONS; r++) {
		uint64_t sum = 0;
		if (bpf_map_lookup_elem(fd, &r, v)) return;
		for (int i = 0; i < cpus; i++) sum += v[i].packets;
		if (sum && used < n) used += snprintf(s + used, n - used, "r%u %llu ", r, (unsigned long long)sum);
	}
	uint64_t b[cpus][4], connections = 0;
	for (uint32_t slot = 1; slot <= SERVICES * BACKENDS; slot++) {
		if (bpf_map_lookup_elem(xb_map(o, "BACKEND_COUNTS"), &slot, b)) return;
		for (int i = 0; i < cpus; i++) connections += b[i][2];
	}
	if (used < n) snprintf(s + used, n - used, "connections %llu", (unsigned long long)connections);
}

static char object[512];

#define PACKET4(proto, flags, dst) .pkt = {XB_V4, proto, flags, 0, 80, "10.1.0.1", dst}
#define PACKET6(proto, flags, dst) .pkt = {XB_V6, proto, flags, 0, 80, "2001:db8::1", dst}
#define V4(proto, flags) PACKET4(proto, flags, "192.0.2.1")
#define V6(proto, flags) PACKET6(proto, flags, "2001:db8:1::1")
#define CASE(n, f, a, ...) \
	{.name = n, .obj = object, .prog = "dispatcher", .flows = f, .tune = tune, .fill = fill, .report = report, .arg = a, __VA_ARGS__}
#define TX .expect = XB_TX, .check = forwarded
#define PASS .expect = XB_PASS, .check = untouched
#define HIT(n, ...) \
	CASE("dispatcher" n "/1k", 1 << 10, 20, TX, __VA_ARGS__), \
	CASE("dispatcher" n "/64k", 1 << 16, 20, TX, __VA_ARGS__), \
	CASE("dispatcher" n "/1M", 1 << 20, 21, TX, __VA_ARGS__)

struct xb_case xb_cases[] = {
	HIT("", V4(6, 0x10)), HIT("6", V6(6, 0x10)), HIT("_udp", V4(17, 0)), HIT("6_udp", V6(17, 0)),
	CASE("dispatcher_measured/1k", 1 << 10, 20 | MEASURED, TX, V4(6, 0x10)),
	CASE("dispatcher_measured/64k", 1 << 16, 20 | MEASURED, TX, V4(6, 0x10)),
	CASE("dispatcher_measured/1M", 1 << 20, 21 | MEASURED, TX, V4(6, 0x10)),
	CASE("dispatcher_fin/1k", 1 << 10, 20, TX, V4(6, 0x11)),
	CASE("new/dispatcher", 0, 20, TX, V4(6, 0x02)),
	CASE("new/dispatcher6", 0, 20, TX, V6(6, 0x02)),
	CASE("new/dispatcher_udp", 0, 20, TX, V4(17, 0)),
	CASE("not_ours/dispatcher", 1 << 10, 20, PASS, PACKET4(6, 0x10, "192.0.2.2")),
	CASE("not_ours/dispatcher6", 1 << 10, 20, PASS, PACKET6(6, 0x10, "2001:db8:1::2")),
};
int xb_ncases = sizeof xb_cases / sizeof *xb_cases;

__attribute__((constructor)) static void find_object(void)
{
	const char *path = getenv("DISPATCHER_OBJECT");
	snprintf(object, sizeof object, "%s", path ? path : "dispatcher.bpf.o");
}
