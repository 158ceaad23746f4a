"""How the files of each dataset are laid out. Imports nothing, so that `pa3d --help` can name them."""

LAYOUTS = {
    "shapenetpart": "synsetoffset2category.txt, train_test_split/shuffled_{train,val,test}_file_list.json "
    "and SYNSET/ID.txt with rows 'x y z nx ny nz label'; or the HDF5 form: all_object_categories.txt, "
    "{train,val,test}_hdf5_file_list.txt and the .h5 files they name, with data, label and pid",
    "partnete": "[test/]CATEGORY/ID/ with pc.ply and label.npy (a pickled dict, key semantic_seg)",
    "faust": "*.npz with vertices, faces, face_labels, part_names; or meshes.txt, scans/*.obj and "
    "coarse_gt.json (mesh name -> part name of every vertex)",
    "scanobjectnn": "[object_dataset_complete_with_parts/]CATEGORY/ID.bin and ID_part.bin, and split_new.txt",
    "objaverse": "[seenclass|unseen|shapenetpart/]CATEGORY_UID/ with points5000.pcd, label_map.json and "
    "labels.npy (0 unlabelled) or mask2pts.npy or .pt (masks x points)",
    "akbseg": "AKBSeg_meta.json (category -> part names) and CATEGORY/ID/ with pc.ply and label.npy, as PartNetE",
    "partnetmobility": "ID/ with meta.json, semantics.txt ('link joint name'), mobility.urdf, result.json and "
    "textured_objs/*.obj",
    "3dcompat": "[hdf5/]{train,valid,test}_{coarse,medium,fine}.hdf5 with points, points_part_labels, shape_id, "
    "shape_label, and metadata/ with classes.json and parts_{coarse,medium,fine}.json",
    "partobjaverse": "PartObjaverse-Tiny_semantic.json (group -> shape -> part names), PartObjaverse-Tiny_mesh/ID.glb "
    "and PartObjaverse-Tiny_semantic_gt/ID.npy (part of every face)",
    "partnext": "glbs/TYPE/ID.glb and annotations/TYPE/ID/ID.json with hierarchyList, masks and mesh_face_num",
    "npz": "*.npz, at any depth, with points and labels, or vertices, faces and face_labels or "
    "vertex_labels; part_names and category",
}
