// What changes from step to step. The host keeps one copy per step of a submit and binds it by
// offset.
struct Hyper {
    step: u32,            // step inside this submit, from 0
    index_start: u32,     // first element of this step's rows in the index buffer
    term_start: u32,      // first element of this step's row in the loss-term buffer
    queue_start: u32,     // queue row that the first new key goes to
    learning_rate: f32,
    classifier_rate: f32,
    momentum_decay: f32,  // tau of the momentum (EMA) copies
    inverse_labelled: f32,// 1 / labelled rows of one view, 0 if there is none
    adam_correction1: f32,// 1 - beta1^t
    adam_correction2: f32,// 1 - beta2^t
    inverse_weight: f32,  // 1 / weights of one view's soft targets, 0 if they are all 0
    _pad0: u32,
}
