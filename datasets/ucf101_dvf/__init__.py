"""The UCF101 triplets of Deep Voxel Flow."""
