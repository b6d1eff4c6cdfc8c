;;; mailsync-gnus-topics.el --- The counts of topics in the Group buffer  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Where *Group* shows topics, the line of a topic has the sum of its groups
;; and of the topics in it.  Gnus means to bring that up to date with a
;; group's line, but Emacs 28.2 never does, since it asks for a major mode
;; that is none, and later ones leave out what is below a folded topic.  So
;; it is done here, after a check, for the topics that the groups are in and
;; those that these are in: the sums are counted anew, and a line whose sum
;; is another one is written by Gnus's own function.
;;
;; Gnus shows a group that gets mail even where its topic is folded, and in
;; doing so forgets that it is.  `mailsync-gnus--folded-p' says where a check
;; shall not have it do so.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)

;;;; Declarations

(defvar gnus-group-buffer)
(defvar gnus-group-list-mode)
(defvar gnus-level-unsubscribed)
(defvar gnus-topic-alist)
(defvar gnus-topic-display-predicate)
(defvar gnus-topic-mode)
(defvar gnus-topic-topology)

(declare-function gnus-topic-find-groups "gnus-topic"
                  (topic &optional level all lowest recursive))
(declare-function gnus-topic-find-topology "gnus-topic"
                  (topic &optional topology level remove))
(declare-function gnus-topic-insert-topic-line "gnus-topic"
                  (name visiblep shownp level entries
                        &optional unread all-groups))
(declare-function gnus-topic-parent-topic "gnus-topic"
                  (topic &optional topology))
(declare-function gnus-topic-update-unreads "gnus-topic" (topic unreads))

(declare-function mailsync-log-add "mailsync-log" (level format &rest args))

;;;; What there is

(defun mailsync-gnus--topics-p ()
  "Non-nil if the Group buffer, which is current, shows topics."
  (and (bound-and-true-p gnus-topic-mode)
       (bound-and-true-p gnus-topic-topology)))

(defun mailsync-gnus--topics-of (group)
  "The topics that GROUP is in, each with those that it is in, innermost first."
  (cl-loop for (topic . groups) in gnus-topic-alist
           when (member group groups)
           collect (cl-loop for name = topic then (gnus-topic-parent-topic name)
                            while name collect name)))

(defun mailsync-gnus--topic-lines ()
  "Where in the current buffer the line of each topic is, an alist."
  (let ((position (point-min))
        (lines nil))
    (while position
      (when-let* ((topic (get-text-property position 'gnus-topic)))
        (push (cons topic position) lines))
      (setq position (next-single-property-change position 'gnus-topic)))
    lines))

(defun mailsync-gnus--folded-p (group)
  "Non-nil if GROUP is in folded topics only, whose lines are shown."
  (with-current-buffer gnus-group-buffer
    (and (mailsync-gnus--topics-p)
         (save-restriction
           (widen)
           (let ((lines (mailsync-gnus--topic-lines))
                 (topics (mailsync-gnus--topics-of group)))
             (and topics
                  (cl-every
                   (lambda (lineage)
                     ;; The innermost that is shown.
                     (let ((line (cl-some (lambda (topic)
                                            (cdr (assoc topic lines)))
                                          lineage)))
                       (and line
                            (not (get-text-property line
                                                    'gnus-topic-visible)))))
                   topics)))))))

;;;; The sums

(defun mailsync-gnus--topic-sums (topology)
  "How many unread messages TOPOLOGY has, and its topics: an alist.
The topic of TOPOLOGY itself comes first."
  (let* ((topic (caar topology))
         (parts (mapcar #'mailsync-gnus--topic-sums (cdr topology)))
         (sum (apply #'+ (mailsync-gnus--topic-own topic)
                     (mapcar #'cdar parts))))
    (cons (cons topic
                (if (and (bound-and-true-p gnus-topic-display-predicate)
                         (not (funcall gnus-topic-display-predicate topic)))
                    0
                  sum))
          (apply #'append parts))))

(defun mailsync-gnus--topic-own (topic)
  "How many unread messages the groups in TOPIC have that would be listed."
  (let ((level (or (car gnus-group-list-mode) gnus-level-unsubscribed))
        (sum 0))
    (dolist (group (cdr (assoc topic gnus-topic-alist)))
      (when-let* ((unread (mailsync-gnus--unread group)))
        (when (<= 1 (mailsync-gnus--level (mailsync-gnus--info group)) level)
          (cl-incf sum unread))))
    sum))

(defun mailsync-gnus--draw-topics (groups)
  "Bring the lines of the topics up to date that GROUPS are in.
A point that is on such a line is moved by that.  An error here is
logged: it must not spoil the check."
  (when (and groups (get-buffer gnus-group-buffer))
    (condition-case err
        (with-current-buffer gnus-group-buffer
          (when (mailsync-gnus--topics-p)
            (save-excursion
              (save-restriction
                (widen)
                (mailsync-gnus--draw-topics-1
                 (delete-dups
                  (apply #'append
                         (cl-mapcan #'mailsync-gnus--topics-of groups))))))))
      (error
       (mailsync-log-add 'error "counting topics: %s"
                         (error-message-string err))))))

(defun mailsync-gnus--draw-topics-1 (topics)
  "Bring the lines of TOPICS in the current buffer up to date."
  (let ((sums (mailsync-gnus--topic-sums gnus-topic-topology)))
    (dolist (topic topics)
      (when-let* ((sum (cdr (assoc topic sums))))
        ;; Gnus adds these up where it draws a line by itself.
        (gnus-topic-update-unreads topic sum)
        (when-let* ((line (cdr (assoc topic (mailsync-gnus--topic-lines)))))
          (unless (eql sum (get-text-property line 'gnus-topic-unread))
            (mailsync-gnus--draw-topic topic line sum)))))))

(defun mailsync-gnus--draw-topic (topic line sum)
  "Write the line of TOPIC, at LINE, with SUM unread messages."
  (goto-char line)
  (let* ((inhibit-read-only t)
         (level (car gnus-group-list-mode))
         (all (cdr gnus-group-list-mode))
         (type (cadr (gnus-topic-find-topology topic))))
    (gnus-topic-insert-topic-line
     topic
     (get-text-property line 'gnus-topic-visible)
     (not (eq (nth 2 type) 'hidden))
     (get-text-property line 'gnus-topic-level)
     (gnus-topic-find-groups topic level all)
     sum
     (gnus-topic-find-groups topic level all nil t))
    ;; Point is before the old line now.
    (delete-region (line-beginning-position) (line-beginning-position 2))))

(provide 'mailsync-gnus-topics)
;;; mailsync-gnus-topics.el ends here
