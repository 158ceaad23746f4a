import sys; sys.path.insert(0,'.')
import torch
from kernels.knn import knn
from pa3d.ops import knn_reference
for n,q,k in ((1,1,1),(40,7,5),(300,9,32),(129,33,128)):
    p=torch.randn(2,n,3); qq=torch.randn(2,q,3)
    p[:, n//2:]=p[:, :n-n//2].clone()
    i,d=knn(qq,p,k); ri,rd=knn_reference(qq,p,k)
    print(n,q,k,torch.equal(i,ri),torch.equal(d,rd))
