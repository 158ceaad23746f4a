/* pa3d in C: names the parts of a 3D shape from free text, without Python.
 *
 *     pa3d_model* model;
 *     pa3d_text* text;
 *     if (pa3d_model_load("model.safetensors", NULL, &model) || pa3d_text_load("minilm-l6-v2.safetensors",
 *         "minilm-tokenizer.json", &text)) fputs(pa3d_error_message(), stderr);
 *     const char* parts[] = {"seat", "back", "leg"};
 *     pa3d_segment(model, text, points, n, parts, 3, "chair", NULL, labels, scores);
 *
 * Every function that can fail returns a pa3d_status; PA3D_OK is 0, and pa3d_error_message() says what went wrong. When
 * one fails, what it would have written is undefined, except that a handle it would have made is set to NULL. No
 * exception leaves the library.
 *
 * Threads: handles are immutable once made, and any number of threads may use one at once. A call uses `threads`
 * threads of its own, or what OpenMP would take (OMP_NUM_THREADS) when that is 0. Results do not depend on it. The
 * environment variable PA3D_ISA (generic, avx2, avx512, avx512_bf16) pins a lower level of the processor.
 *
 * Arrays are dense and in row order. Texts are UTF-8, ended by a zero. Labels and scores equal those of the Python
 * package, Segmenter.segment with the same points and options, to the bit on one machine.
 */
#ifndef PA3D_H
#define PA3D_H

#include <stdint.h>

#define PA3D_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pa3d_status {
  PA3D_OK = 0,
  PA3D_INVALID = 1,     /* an argument cannot be used */
  PA3D_FILE = 2,        /* a file is missing, damaged or of another kind */
  PA3D_UNSUPPORTED = 3, /* this processor cannot do it */
  PA3D_MEMORY = 4,      /* out of memory */
  PA3D_INTERNAL = 5     /* a bug; please report it with the message */
} pa3d_status;

/* The message of the last failed call of this thread; "" when none has failed. Valid until this thread's next failure.
 */
PA3D_API const char* pa3d_error_message(void);

#define PA3D_VERSION "0.1.0"

/* PA3D_VERSION of the library that runs. */
PA3D_API const char* pa3d_version(void);

typedef struct pa3d_model pa3d_model; /* an encoder of shapes and the text space that it was trained with */
typedef struct pa3d_text pa3d_text;   /* the embedded text encoder, all-MiniLM-L6-v2 */

/* path: a .safetensors checkpoint as pa3d writes it. precision: "fp32", "bf16", "int8" or "auto"; NULL is "auto". bf16
 * and int8 give PA3D_UNSUPPORTED where the processor lacks AVX-512 with BF16 and VNNI. */
PA3D_API pa3d_status pa3d_model_load(const char* path, const char* precision, pa3d_model** model);
PA3D_API void pa3d_model_free(pa3d_model* model); /* NULL is fine */

/* weights, tokenizer: minilm-l6-v2.safetensors and minilm-tokenizer.json of the Python package's folder pa3d/weights.
 */
PA3D_API pa3d_status pa3d_text_load(const char* weights, const char* tokenizer, pa3d_text** text);
PA3D_API void pa3d_text_free(pa3d_text* text); /* NULL is fine */

/* The texts belong to the model. */
typedef struct pa3d_info {
  int64_t patches;        /* G: patches per shape */
  int64_t patch_size;     /* M: points per patch */
  int64_t width;          /* C: of the encoder's tokens */
  int64_t text_width;     /* D: of the text space */
  float temperature;      /* what cosines are divided by */
  const char* text_space; /* "all-MiniLM-L6-v2" is the one that pa3d_text serves */
  const char* prompts;    /* how part names become sentences: auto, part, category or ensemble */
  const char* precision;  /* what runs: fp32, bf16 or int8 */
} pa3d_info;

PA3D_API pa3d_status pa3d_model_info(const pa3d_model* model, pa3d_info* info);

typedef enum pa3d_up { PA3D_UP_X = 0, PA3D_UP_Y = 1, PA3D_UP_Z = 2 } pa3d_up;

typedef enum pa3d_assign {
  PA3D_NEAREST = 0,    /* a point takes the logits of the nearest patch centre */
  PA3D_MEMBERSHIP = 1, /* the mean over the patches that its nearest encoded point is a member of */
  PA3D_SMOOTH = 2,     /* three centres weighted by inverse distance */
  PA3D_OWN = 3         /* what the checkpoint says */
} pa3d_assign;

typedef struct pa3d_options {
  pa3d_up up;         /* the axis of the points that points up */
  pa3d_assign assign; /* how points get labels */
  float none;         /* points whose best probability is below this are labelled -1; 0 labels every point. For a
                         model with a calibration of presence, it is the probability among the parts and "none of
                         them" times the presence of the part */
  int64_t sample;     /* how many points the encoder sees, drawn at random; 0 is every point */
  uint64_t seed;      /* of that draw */
  int threads;        /* 0: what OpenMP would take */
} pa3d_options;

/* up y, own, none 0, sample 2048, seed 0, threads 0. Wherever options are asked for, NULL means these. */
PA3D_API pa3d_options pa3d_default_options(void);

/* vectors (count, 384): one unit vector a part, the mean over the prompts made from its name.
 * category: what the object is, or NULL. prompts: "auto", "part", "category" or "ensemble"; NULL is "auto". */
PA3D_API pa3d_status pa3d_embed_text(const pa3d_text* text, const char* const* parts, int64_t count,
                                     const char* category, const char* prompts, int threads, float* vectors);

/* points (n, 3) in any units. Of the options, up, sample, seed and threads count. Any of the results may be NULL:
 * centers (G, 3): patch centres in the model's axes, normalised; members (G, M): indices into points; tokens (G, C);
 * features (G, D): unit vectors in the text space. */
PA3D_API pa3d_status pa3d_encode(const pa3d_model* model, const float* points, int64_t n, const pa3d_options* options,
                                 float* centers, int64_t* members, float* tokens, float* features);

/* labels (n): index into parts for every point, -1 for none of them; scores (n, count): probabilities, or NULL.
 * Fails with PA3D_INVALID when the model lives in another text space than `text`. */
PA3D_API pa3d_status pa3d_segment(const pa3d_model* model, const pa3d_text* text, const float* points, int64_t n,
                                  const char* const* parts, int64_t count, const char* category,
                                  const pa3d_options* options, int32_t* labels, float* scores);

/* The same with vectors (count, D) of the caller's, of any length but 0, in place of names; for other text spaces, and
 * for parts that are asked for again and again. */
PA3D_API pa3d_status pa3d_segment_vectors(const pa3d_model* model, const float* points, int64_t n, const float* vectors,
                                          int64_t count, const pa3d_options* options, int32_t* labels, float* scores);

/* A mesh: vertices (n, 3), faces (n_faces, 3) indices of vertices. The encoder sees `sample` points on the surface,
 * drawn by area, or every vertex where sample is 0. Any of the results may be NULL: labels (n) and scores (n, count) of
 * the vertices; face_labels (n_faces) and face_scores (n_faces, count) of the faces, taken at their centroids. */
PA3D_API pa3d_status pa3d_segment_mesh(const pa3d_model* model, const pa3d_text* text, const float* vertices, int64_t n,
                                       const int32_t* faces, int64_t n_faces, const char* const* parts, int64_t count,
                                       const char* category, const pa3d_options* options, int32_t* labels,
                                       float* scores, int32_t* face_labels, float* face_scores);

/* The same with the caller's vectors, as in pa3d_segment_vectors. */
PA3D_API pa3d_status pa3d_segment_mesh_vectors(const pa3d_model* model, const float* vertices, int64_t n,
                                               const int32_t* faces, int64_t n_faces, const float* vectors,
                                               int64_t count, const pa3d_options* options, int32_t* labels,
                                               float* scores, int32_t* face_labels, float* face_scores);

/* presence (count): from 0 to 1, how sure it is that the shape has the part at all. faces (n_faces, 3) of a mesh, or
 * NULL for a cloud. Fails with PA3D_INVALID for a model without a calibration, such as the official one. */
PA3D_API pa3d_status pa3d_presence(const pa3d_model* model, const pa3d_text* text, const float* points, int64_t n,
                                   const int32_t* faces, int64_t n_faces, const char* const* parts, int64_t count,
                                   const char* category, const pa3d_options* options, float* presence);

#ifdef __cplusplus
}
#endif

#endif /* PA3D_H */
