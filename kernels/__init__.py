"""Triton kernels, one module per operation. Nothing is imported here, because `import pa3d` must not import triton.

    knn          k nearest neighbours, exact
    attention    attention over the tokens of a shape, forward and backward
    block        LayerNorm, linear, GELU and residual of a transformer block in one pass each (inference)
    patch_embed  grouping, mini-PointNet and its maxima (inference)
    encoder      the whole forward pass of the model on these (inference)
    backproject  2D tokens to points without the upsampled image
    report       registers, memory and occupancy of each kernel, as the compiler reports them

They run on CUDA tensors. With TRITON_INTERPRET=1 set before the import they run on CPU tensors through Triton's
interpreter, which checks the arithmetic and the indexing, never the speed.
"""
