// Runs single tensor-core instructions of a Hopper GPU on given operand tiles.
//
// nvcc -gencode=arch=compute_90a,code=sm_90a -shared -Xcompiler -fPIC -o probe.so probe.cu
//
// One tile is A of 64 rows and B of 8 rows (a row of B is a column of the right operand), each row 32 bytes:
// 32 codes of 8 bits, 16 of 16 bits or 8 of 32 bits. Its register file is 64 x 8 FP32 or FP16 values.
// `steps` instructions run one after the other on the same registers.
#include <cstdint>
#include <initializer_list>
#include <cuda_runtime.h>

// A wgmma operand in shared memory, no swizzle: 8 x 16 byte core matrices, `lbo` apart along K, `sbo` along M or N.
__device__ __forceinline__ uint64_t operand(const void* p, uint32_t lbo, uint32_t sbo) {
  uint32_t address = (uint32_t)__cvta_generic_to_shared(p);
  return (uint64_t)((address & 0x3FFFF) >> 4) | ((uint64_t)(lbo >> 4) << 16) | ((uint64_t)(sbo >> 4) << 32);
}

#define WGMMA_F32(NAME, SHAPE, TYPES, TAIL) \
  struct NAME { \
    using word = float; \
    static constexpr int words = 4; \
    static __device__ __forceinline__ void run(word (&d)[4], uint64_t a, uint64_t b) { \
      asm volatile("{ wgmma.mma_async.sync.aligned." SHAPE ".f32." TYPES " {%0,%1,%2,%3}, %4, %5, 1, 1, 1" TAIL "; }\n" \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a), "l"(b)); \
    } \
  };
#define WGMMA_F16(NAME, SHAPE, TYPES, TAIL) \
  struct NAME { \
    using word = uint32_t; \
    static constexpr int words = 2; \
    static __device__ __forceinline__ void run(word (&d)[2], uint64_t a, uint64_t b) { \
      asm volatile("{ wgmma.mma_async.sync.aligned." SHAPE ".f16." TYPES " {%0,%1}, %2, %3, 1, 1, 1" TAIL "; }\n" \
        : "+r"(d[0]), "+r"(d[1]) : "l"(a), "l"(b)); \
    } \
  };
#define MMA_F32(NAME, SHAPE, TYPES) \
  struct NAME { \
    using word = float; \
    static constexpr int words = 4; \
    static __device__ __forceinline__ void run(word (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { \
      asm volatile("mma.sync.aligned." SHAPE ".row.col.f32." TYPES ".f32 " \
                   "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n" \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
    } \
  };
#define MMA_F16(NAME, SHAPE, TYPES) \
  struct NAME { \
    using word = uint32_t; \
    static constexpr int words = 2; \
    static __device__ __forceinline__ void run(word (&d)[2], const uint32_t (&a)[4], const uint32_t (&b)[2]) { \
      asm volatile("mma.sync.aligned." SHAPE ".row.col.f16." TYPES ".f16 " \
                   "{%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};\n" \
        : "+r"(d[0]), "+r"(d[1]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
    } \
  };

WGMMA_F32(wgmma_f32_e4m3_e4m3, "m64n8k32", "e4m3.e4m3", "")
WGMMA_F32(wgmma_f32_e4m3_e5m2, "m64n8k32", "e4m3.e5m2", "")
WGMMA_F32(wgmma_f32_e5m2_e4m3, "m64n8k32", "e5m2.e4m3", "")
WGMMA_F32(wgmma_f32_e5m2_e5m2, "m64n8k32", "e5m2.e5m2", "")
WGMMA_F32(wgmma_f32_f16_f16, "m64n8k16", "f16.f16", ", 0, 0")
WGMMA_F32(wgmma_f32_bf16_bf16, "m64n8k16", "bf16.bf16", ", 0, 0")
WGMMA_F32(wgmma_f32_tf32_tf32, "m64n8k8", "tf32.tf32", "")
WGMMA_F16(wgmma_f16_e4m3_e4m3, "m64n8k32", "e4m3.e4m3", "")
WGMMA_F16(wgmma_f16_e4m3_e5m2, "m64n8k32", "e4m3.e5m2", "")
WGMMA_F16(wgmma_f16_e5m2_e4m3, "m64n8k32", "e5m2.e4m3", "")
WGMMA_F16(wgmma_f16_e5m2_e5m2, "m64n8k32", "e5m2.e5m2", "")
WGMMA_F16(wgmma_f16_f16_f16, "m64n8k16", "f16.f16", ", 0, 0")
MMA_F32(mma_f32_f16_f16, "m16n8k16", "f16.f16")
MMA_F32(mma_f32_bf16_bf16, "m16n8k16", "bf16.bf16")
MMA_F32(mma_f32_tf32_tf32, "m16n8k8", "tf32.tf32")
MMA_F16(mma_f16_f16_f16, "m16n8k16", "f16.f16")
MMA_F32(mma_f32_e4m3_e4m3, "m16n8k32", "e4m3.e4m3")
MMA_F32(mma_f32_e5m2_e5m2, "m16n8k32", "e5m2.e5m2")
MMA_F16(mma_f16_e4m3_e4m3, "m16n8k32", "e4m3.e4m3")

// Both shapes keep registers alike: a warp holds 16 rows; a thread rows `row` and `row + 8`, two columns of each.
template <class OP> struct Registers {
  static constexpr int half = OP::words / 2;
  typename OP::word d[OP::words];
  size_t low, high;
  __device__ Registers(size_t tile, int row, int lane)
      : low((tile * 64 + row) * 4 * half + (lane % 4) * half), high(low + 8 * 4 * half) {}
  __device__ void load(const typename OP::word* c) {
    for (int i = 0; i < half; ++i) { d[i] = c[low + i]; d[half + i] = c[high + i]; }
  }
  __device__ void store(typename OP::word* c) const {
    for (int i = 0; i < half; ++i) { c[low + i] = d[i]; c[high + i] = d[half + i]; }
  }
};

// Four warps, one warpgroup, multiply a whole tile.
template <class OP>
__global__ void warpgroup(const uint8_t* A, const uint8_t* B, const typename OP::word* C, typename OP::word* D, int steps) {
  __shared__ alignas(128) uint8_t sa[64 * 32], sb[8 * 32];
  size_t tile = blockIdx.x;
  int tid = threadIdx.x, lane = tid % 32, row = tid / 32 * 16 + lane / 4, r = tid / 2, half = tid % 2;
  Registers<OP> registers(tile, row, lane);
  registers.load(C);
  for (int s = 0; s < steps; ++s) {
    const uint8_t* a = A + (tile * steps + s) * 2048;
    const uint8_t* b = B + (tile * steps + s) * 256;
    __syncthreads();
    *(uint4*)(sa + (r / 8 * 2 + half) * 128 + r % 8 * 16) = *(const uint4*)(a + r * 32 + half * 16);
    if (tid < 16) *(uint4*)(sb + half * 128 + r * 16) = *(const uint4*)(b + r * 32 + half * 16);
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
    __syncthreads();
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
    OP::run(registers.d, operand(sa, 128, 256), operand(sb, 128, 256));
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;\n" ::: "memory");
  }
  registers.store(D);
}

// Four warps, each multiplies 16 rows of a tile.
template <class OP>
__global__ void warps(const uint8_t* A, const uint8_t* B, const typename OP::word* C, typename OP::word* D, int steps) {
  size_t tile = blockIdx.x;
  int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, at = lane % 4 * 4;
  Registers<OP> registers(tile, row, lane);
  registers.load(C);
  for (int s = 0; s < steps; ++s) {
    const uint8_t* low = A + (tile * steps + s) * 2048 + row * 32 + at;
    const uint8_t* high = low + 8 * 32;
    const uint8_t* column = B + (tile * steps + s) * 256 + lane / 4 * 32 + at;
    uint32_t a[4] = {*(const uint32_t*)low, *(const uint32_t*)high,
                     *(const uint32_t*)(low + 16), *(const uint32_t*)(high + 16)};
    uint32_t b[2] = {*(const uint32_t*)column, *(const uint32_t*)(column + 16)};
    OP::run(registers.d, a, b);
  }
  registers.store(D);
}

struct Buffer {
  void* at = nullptr;
  cudaError_t error;
  explicit Buffer(size_t bytes) : error(cudaMalloc(&at, bytes)) {}
  ~Buffer() { cudaFree(at); }
};

using Kernel = void (*)(const void*, const void*, const void*, void*, int, int);

template <class OP> void run_warpgroup(const void* a, const void* b, const void* c, void* d, int tiles, int steps) {
  using word = typename OP::word;
  warpgroup<OP><<<tiles, 128>>>((const uint8_t*)a, (const uint8_t*)b, (const word*)c, (word*)d, steps);
}
template <class OP> void run_warps(const void* a, const void* b, const void* c, void* d, int tiles, int steps) {
  using word = typename OP::word;
  warps<OP><<<tiles, 128>>>((const uint8_t*)a, (const uint8_t*)b, (const word*)c, (word*)d, steps);
}

// The order is that of precision/hardware/instructions.py.
static const Kernel kernels[] = {
  run_warpgroup<wgmma_f32_e4m3_e4m3>, run_warpgroup<wgmma_f32_e4m3_e5m2>,
  run_warpgroup<wgmma_f32_e5m2_e4m3>, run_warpgroup<wgmma_f32_e5m2_e5m2>,
  run_warpgroup<wgmma_f32_f16_f16>, run_warpgroup<wgmma_f32_bf16_bf16>, run_warpgroup<wgmma_f32_tf32_tf32>,
  run_warpgroup<wgmma_f16_e4m3_e4m3>, run_warpgroup<wgmma_f16_e4m3_e5m2>,
  run_warpgroup<wgmma_f16_e5m2_e4m3>, run_warpgroup<wgmma_f16_e5m2_e5m2>, run_warpgroup<wgmma_f16_f16_f16>,
  run_warps<mma_f32_f16_f16>, run_warps<mma_f32_bf16_bf16>, run_warps<mma_f32_tf32_tf32>,
  run_warps<mma_f16_f16_f16>,
  run_warps<mma_f32_e4m3_e4m3>, run_warps<mma_f32_e5m2_e5m2>, run_warps<mma_f16_e4m3_e4m3>,
};

// All pointers are the host's: A [tiles][steps][64][32] bytes, B [tiles][steps][8][32] bytes, C and D
// [tiles][64][8] registers of `register_bytes`. Returns 0, a CUDA error, or -1 for an unknown instruction.
extern "C" int probe(int instruction, const void* A, const void* B, const void* C, void* D, int tiles, int steps,
                     int register_bytes) {
  if (instruction < 0 || instruction >= (int)(sizeof(kernels) / sizeof(kernels[0]))) return -1;
  size_t a_bytes = (size_t)tiles * steps * 2048, b_bytes = (size_t)tiles * steps * 256;
  size_t c_bytes = (size_t)tiles * 512 * register_bytes;
  Buffer a(a_bytes), b(b_bytes), c(c_bytes), d(c_bytes);
  for (cudaError_t error : {a.error, b.error, c.error, d.error}) if (error != cudaSuccess) return error;
  cudaError_t errors[] = {
    cudaMemcpy(a.at, A, a_bytes, cudaMemcpyHostToDevice), cudaMemcpy(b.at, B, b_bytes, cudaMemcpyHostToDevice),
    cudaMemcpy(c.at, C, c_bytes, cudaMemcpyHostToDevice), cudaMemset(d.at, 0xA5, c_bytes)};
  for (cudaError_t error : errors) if (error != cudaSuccess) return error;
  kernels[instruction](a.at, b.at, c.at, d.at, tiles, steps);
  if (cudaError_t error = cudaGetLastError()) return error;
  if (cudaError_t error = cudaDeviceSynchronize()) return error;
  return cudaMemcpy(D, d.at, c_bytes, cudaMemcpyDeviceToHost);
}

extern "C" const char* probe_error(int code) { return code < 0 ? "unknown instruction" : cudaGetErrorString((cudaError_t)code); }
