// Clean borders of parts: scores of faces or points by a Gaussian conditional random field over their neighbours.
//
// With p the scores of face i, a its share of the area and u = log(p + 0.01), the refined scores are softmax(x), where
// x is the minimum of
//
//   sum_i a_i |x_i - u_i|^2 + sum_ij w_ij |x_i - x_j|^2
//
// over all x, one column per part. A pair (i, j) of faces that share an edge has
//
//   w_ij = s^2 A g(angle) l / d        s = 0.1, A the area of the surface, l the length of the edge, d the distance of
//                                      the centroids by way of the middle of the edge
//   g = exp(-angle max(1, 0.02 sqrt(A) / d) / sigma) + 0.001,   sigma = 0.1 for a concave edge, 5 for a convex one
//
// So scores spread over flat and convex regions, up to a tenth of the root of the area, and stop at concave edges. None
// of this depends on how finely the surface is cut: an angle per face counts as the angle over the length 0.02 sqrt(A).
// Vertices with equal coordinates are one vertex. Of the faces at an edge, in order of their index, each is the
// neighbour of the next. Faces with the same three vertices, such as the two sides of a leaf, are one node with the
// mean of their u. Where the signed volume of a connected component is negative, it is inside out, and its concave
// edges are the convex ones.
//
// In a cloud every point has the same area, and its neighbours are the six nearest places (points with equal
// coordinates are one node, too, with the sum of their areas). Normals come from the covariance of sixteen neighbours
// and have no sign, so sigma is 0.1 for all pairs; l / d is 0.58, as in a regular grid of triangles.
//
// Pieces are groups of faces that belong together. With the bond b of piece P, and the evidence e (one value per part)
// of weight c, it adds a node y and the terms sum_i b a_i |x_i - y|^2 + c a_P |y - e|^2, where a_P is the area of P.
#pragma once

#include <cstdint>

namespace pa3d {

constexpr double kRefineReach = 0.1;

struct RefineInput {
  const float* points;             // (n, 3)
  int64_t n;                       // < 2^31
  const int32_t* faces;            // (n_faces, 3), or null for a cloud
  int64_t n_faces;                 // < 2^28
  double reach = kRefineReach;     // s above, at least 0; 0 leaves only what pieces do
  const int32_t* piece = nullptr;  // of every face, or point of a cloud: -1 for none. Null if there are no pieces
  int64_t num_pieces = 0;
  const float* bond = nullptr;      // (num_pieces), at least 0
  const float* evidence = nullptr;  // (num_pieces, num_parts), or null
  const float* weight = nullptr;    // (num_pieces), at least 0; null without evidence
};

// Replaces scores (m, num_parts), where m is n_faces or n, by the refined ones. Solved by conjugate gradients with a
// multigrid cycle as preconditioner, until the residual is 0.2 percent or for a number of steps that depends on the
// number of nodes alone. The result does not depend on the threads.
void refine(const RefineInput& input, float* scores, int64_t num_parts, int threads);

// scores (n, num_parts) of the vertices: the mean of the scores (n_faces, num_parts) of the faces that have the vertex,
// weighted by their areas. A vertex without a face that has an area keeps its own.
void mean_at_vertices(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, const float* face_scores,
                      int64_t num_parts, float* scores);

}  // namespace pa3d
