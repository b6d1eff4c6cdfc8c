;;; mailsync-gnus-news.el --- Which messages of a Gnus group are news  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A count of unread messages rises for many reasons.  News is only what
;; arrived: a message whose number in its group is above the highest one
;; that Gnus knew before the check, which nobody has read or seen, and
;; which the user has not put there himself.  Numbers alone say most of
;; that, since Gnus looks at the group to which the user moves a message
;; at once, so that its number is known by then.  Two things they do not
;; say:
;;
;; - That a message is an old one under a new number.  mbsync renames a
;;   message when it has pushed it, and to nnmaildir another file name is
;;   another message.  So a message that was told of is not told of again
;;   in its group, by its Message-ID.
;; - That what the user moved shows up in a second group, since two back
;;   ends may show one folder, or is crossposted, after which Gnus does not
;;   look.  So the Message-IDs of what he moves are noted, by Gnus's hook.
;;
;; Nothing here depends on the size of a group, and what is remembered is
;; bounded.  `mailsync-gnus--news-begin' comes before a check,
;; `mailsync-gnus--news-end' after it; between the two, an nnimap server is
;; asked for headers (mailsync-gnus-headers.el).  Others have them here.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)

;;;; Internal variables

(defconst mailsync-gnus--news-numbers-max 10000
  "Look at so many new numbers of a group at most.
An IMAP server may leave out as many as it likes.")

(defconst mailsync-gnus--news-headers-max 100
  "Ask for the headers of so many new messages of a group at most.")

(defconst mailsync-gnus--news-messages-max 20
  "Describe so many new messages of a group at most.")

(defconst mailsync-gnus--news-text-max 200
  "So many characters at most of a header.")

(defconst mailsync-gnus--news-remembered 1000
  "Remember so many messages at least, and twice as many at most.")

(defconst mailsync-gnus--news-moved-for 600
  "What the user moved is nobody's news for so many seconds.
In the group to which he moved it, it is none for ever.")

(defvar mailsync-gnus--news-base (make-hash-table :test #'equal)
  "Group to the highest number that was known when its check began.")

(defvar mailsync-gnus--news-headers (make-hash-table :test #'equal)
  "Group to an alist from number to headers, where they were asked for.
Until its check ends.")

(defvar mailsync-gnus--news-left (make-hash-table :test #'equal)
  "Group to (COUNT . MESSAGES) that arrived, of which nobody was told.
It was looked at before mailsync heard of the change.")

(defvar mailsync-gnus--news-told (cons nil nil)
  "The messages that were told of, a memory of (GROUP . MESSAGE-ID).")

(defvar mailsync-gnus--news-moved (cons nil nil)
  "The messages that the user moved, a memory from Message-ID to (TIME GROUP...).")

;;;; Declarations

(defvar nntp-server-buffer)

(declare-function gnus-extract-address-components "gnus-util" (from))
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-info-marks "gnus" (info) t)
(declare-function gnus-info-read "gnus" (info) t)
(declare-function gnus-retrieve-headers "gnus-int"
                  (articles group &optional fetch-old))
(declare-function mail-header-id "nnheader" (header) t)
(declare-function nnmaildir-article-number-to-base-name "nnmaildir"
                  (number group-name server-address-string))
(declare-function nnmaildir-base-name-to-article-number "nnmaildir"
                  (base-name group-name server-address-string))
(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function rfc2047-decode-string "rfc2047" (string &optional address-mime))

;;;; Memories of bounded size

;; A cons of two hash tables: what is added goes to the first, which
;; becomes the second, and forgets what was there, when it is full.

(defun mailsync-gnus--memory-put (memory key value)
  "Remember VALUE for KEY in MEMORY."
  (unless (and (car memory)
               (< (hash-table-count (car memory))
                  mailsync-gnus--news-remembered))
    (setcdr memory (car memory))
    (setcar memory (make-hash-table :test #'equal)))
  (puthash key value (car memory)))

(defun mailsync-gnus--memory-get (memory key)
  "What MEMORY has for KEY."
  (or (and (car memory) (gethash key (car memory)))
      (and (cdr memory) (gethash key (cdr memory)))))

(defun mailsync-gnus--memory-clear (memory)
  "Forget everything that is in MEMORY."
  (setcar memory nil)
  (setcdr memory nil))

;;;; What the user moves

(defun mailsync-gnus--news-note-move (_action header _from to &rest _)
  "Note that the user moved or copied the message of HEADER to the group TO.
TO is nil if it was respooled.  For `gnus-summary-article-move-hook'."
  (when-let* ((id (and header
                       (mailsync-gnus--news-id (mail-header-id header)))))
    (mailsync-gnus--memory-put
     mailsync-gnus--news-moved id
     (cons (float-time)
           (seq-take
            (delete-dups
             (cons to (cdr (mailsync-gnus--memory-get mailsync-gnus--news-moved
                                                      id))))
            10)))))

(defun mailsync-gnus--news-moved-p (group id)
  "Non-nil if the user has put the message ID into GROUP."
  (when-let* ((moved (mailsync-gnus--memory-get mailsync-gnus--news-moved id)))
    (or (member group (cdr moved))
        (<= 0
            (- (float-time) (car moved))
            mailsync-gnus--news-moved-for))))

;;;; New numbers

(defun mailsync-gnus--news-begin (group)
  "A check of GROUP begins: remember what Gnus knows of it.
Of a check that is done in several parts the first one counts."
  (unless (gethash group mailsync-gnus--news-base)
    (when-let* ((active (mailsync-gnus--active group)))
      (puthash group (cdr active) mailsync-gnus--news-base))))

(defun mailsync-gnus--ranges-above (ranges number)
  "Those of Gnus's RANGES that end above NUMBER, a list of conses."
  (when (and ranges (not (listp (cdr ranges)))) ; a single one
    (setq ranges (list ranges)))
  (let ((above nil))
    (dolist (range ranges)
      (let ((range (if (consp range) range (cons range range))))
        (when (and (numberp (cdr range)) (> (cdr range) number))
          (push range above))))
    above))

(defun mailsync-gnus--in-ranges-p (number ranges)
  "Non-nil if NUMBER is in RANGES, a list of conses."
  (cl-some (lambda (range) (<= (car range) number (cdr range))) ranges))

(defun mailsync-gnus--news-numbers (group base)
  "The numbers above BASE of what is unread and unseen in GROUP, newest first."
  (let* ((info (mailsync-gnus--info group))
         (high (or (cdr (mailsync-gnus--active group)) 0))
         (low (max (1+ base) (- high (1- mailsync-gnus--news-numbers-max))))
         (marks (and info (gnus-info-marks info)))
         (known (append
                 (mailsync-gnus--ranges-above (and info (gnus-info-read info))
                                              base)
                 (mailsync-gnus--ranges-above (cdr (assq 'seen marks)) base)
                 (mailsync-gnus--ranges-above (cdr (assq 'unexist marks))
                                              base))))
    (and info
         (cl-loop for number from high downto low
                  unless (mailsync-gnus--in-ranges-p number known)
                  collect number))))

(defun mailsync-gnus--news-files-p (method)
  "Non-nil if METHOD can say which files its messages are in."
  (and (eq (car method) 'nnmaildir)
       (fboundp 'nnmaildir-article-number-to-base-name)
       (fboundp 'nnmaildir-base-name-to-article-number)))

(defun mailsync-gnus--news-file-p (number name server)
  "Non-nil if the file of message NUMBER says nothing against its being news.
NAME and SERVER are as nnmaildir calls the group and its server.
It may have been read before it was looked at; or be a message that was
known by another name, before mbsync added its number on the server."
  (pcase-let ((`(,base . ,suffix)
               (nnmaildir-article-number-to-base-name number name server)))
    (and base
         (let ((case-fold-search nil))
           (not (string-match-p ":2,[A-Z]*[ST]" (or suffix ""))))
         (let ((plain (and (string-match ",U=[0-9]+\\'" base)
                           (substring base 0 (match-beginning 0)))))
           (not (and plain
                     (nnmaildir-base-name-to-article-number
                      plain name server)))))))

;;;; Headers

(defun mailsync-gnus--news-id (id)
  "The Message-ID in ID, a header or nil, of bounded length; else nil."
  (when (and (stringp id) (string-match "<[^<>\n]+>" id))
    (let ((id (match-string 0 id)))
      (if (> (length id) mailsync-gnus--news-text-max)
          (secure-hash 'sha1 (encode-coding-string id 'utf-8-emacs))
        id))))

(defun mailsync-gnus--news-decode (text)
  "TEXT, as it stands in a header, decoded, without what could do harm."
  (let ((text (truncate-string-to-width (or text "") 2000)))
    (unless (multibyte-string-p text)
      (setq text (decode-coding-string text 'utf-8)))
    (require 'rfc2047)
    (mailsync-gnus-news-clean
     (or (ignore-errors (rfc2047-decode-string text)) text)
     mailsync-gnus--news-text-max)))

(defun mailsync-gnus-news-clean (text max)
  "TEXT on one line, without control characters, of at most MAX characters.
Senders write what they like: line breaks, NULs, characters that turn
the direction of what follows, or that nobody sees."
  (let* ((cut (and (> (length text) (* 10 max)) (substring text 0 (* 10 max))))
         (chars (mapconcat
                 (lambda (char)
                   (cond
                    ((memq char '(?\n ?\r ?\t ?\f ?\v)) " ")
                    ;; A byte that is no character.
                    ((> char #x10ffff) "\N{REPLACEMENT CHARACTER}")
                    (t
                     (pcase (get-char-code-property char 'general-category)
                       ((or 'Zs 'Zl 'Zp) " ")
                       ((or 'Cc 'Cf 'Cs 'Co) "")
                       ;; A newer Emacs may know it, unless it is none.
                       ((and 'Cn (guard (or (<= #xfdd0 char #xfdef)
                                            (>= (logand char #xffff) #xfffe))))
                        "")
                       (_ (string char))))))
                 (or cut text) ""))
         (line (string-trim (replace-regexp-in-string " +" " " chars))))
    (if (<= (length line) max)
        line
      (concat (string-trim-right (substring line 0 (1- max))) "…"))))

(defun mailsync-gnus--news-sender (from)
  "Who FROM, a header as it was sent, says that a message is from."
  (let ((parts (ignore-errors (gnus-extract-address-components from))))
    (mailsync-gnus--news-decode
     (seq-find (lambda (part) (and part (not (string-blank-p part))))
               (list (and (car parts)
                          ;; What stood between quotes is quoted still.
                          (replace-regexp-in-string "\\\\\\(.\\)" "\\1"
                                                    (car parts)))
                     (cadr parts) from "")))))

(defun mailsync-gnus--news-describe (group number fields)
  "A plist for message NUMBER of GROUP.
FIELDS is an alist of its headers, as they were sent."
  (cl-flet ((field (name) (or (cdr (assq name fields)) "")))
    (append (list :group group :number number)
            (when fields
              (list :from (mailsync-gnus--news-decode (field 'from))
                    :sender (mailsync-gnus--news-sender (field 'from))
                    :subject (mailsync-gnus--news-decode (field 'subject))
                    :date (mailsync-gnus--news-decode (field 'date))
                    :message-id (mailsync-gnus--news-id
                                 (field 'message-id)))))))

(defun mailsync-gnus--news-header-fields ()
  "The headers in the current, narrowed buffer, an alist of those wanted."
  (let ((case-fold-search t)
        (fields nil))
    (dolist (name '(from subject date message-id))
      (goto-char (point-min))
      (when (re-search-forward (format "^%s:[ \t]*" name) nil t)
        (let ((begin (point)))
          (while (progn (end-of-line)
                        (and (looking-at "\r?\n[ \t]")
                             (zerop (forward-line 1)))))
          (push (cons name
                      (replace-regexp-in-string
                       "[\r\n]+" ""
                       (buffer-substring-no-properties begin (point))))
                fields))))
    fields))

(defun mailsync-gnus--news-parse-nov ()
  "The overview lines in the current buffer, an alist from number to headers."
  (let ((messages nil))
    (goto-char (point-min))
    (while (not (eobp))
      (let ((fields (split-string (buffer-substring-no-properties
                                   (point) (line-end-position))
                                  "\t")))
        (when (nth 4 fields)
          (push (cons (string-to-number (nth 0 fields))
                      (cl-mapcar #'cons '(subject from date message-id)
                                 (cdr fields)))
                messages)))
      (forward-line 1))
    messages))

(defun mailsync-gnus--news-parse-heads ()
  "The heads in the current buffer, an alist from number to headers."
  (let ((messages nil))
    (goto-char (point-min))
    (while (re-search-forward "^2[0-9][0-9] \\([0-9]+\\) .*\n" nil t)
      (let ((number (string-to-number (match-string 1)))
            (begin (point)))
        (unless (re-search-forward "^\\.\r?$" nil t)
          (goto-char (point-max)))
        (let ((end (point)))
          (save-restriction
            (narrow-to-region begin end)
            (push (cons number (mailsync-gnus--news-header-fields)) messages))
          (goto-char end))))
    messages))

(defun mailsync-gnus--news-fetch (group numbers)
  "The headers of NUMBERS in GROUP, an alist from number to headers.
Those that Gnus has on this machine: an nnimap server is not asked here."
  (when (and numbers
             (not (eq (car (gnus-find-method-for-group group)) 'nnimap)))
    (condition-case nil
        (mailsync-gnus--quietly
          (let ((kind (gnus-retrieve-headers (sort (copy-sequence numbers) #'<)
                                             group)))
            (with-current-buffer nntp-server-buffer
              (pcase kind
                ('nov (mailsync-gnus--news-parse-nov))
                ('headers (mailsync-gnus--news-parse-heads))))))
      (error nil))))

;;;; The news

(defun mailsync-gnus--news-new-p (group id)
  "Non-nil unless the message ID in GROUP is the user's doing, or told of."
  (not (and id
            (or (mailsync-gnus--news-moved-p group id)
                (mailsync-gnus--memory-get mailsync-gnus--news-told
                                           (cons group id))))))

(defun mailsync-gnus--news-candidates (group)
  "The numbers in GROUP that may be news after a check, newest first."
  (when-let* ((base (gethash group mailsync-gnus--news-base))
              (numbers (mailsync-gnus--news-numbers group base)))
    (let ((method (gnus-find-method-for-group group)))
      (if (not (mailsync-gnus--news-files-p method))
          numbers
        (let ((name (mailsync-gnus--real-name group))
              (server (nth 1 method)))
          (cl-remove-if-not
           (lambda (number) (mailsync-gnus--news-file-p number name server))
           numbers))))))

(defun mailsync-gnus--news-to-describe (numbers)
  "Those of NUMBERS, newest first, the headers of which are worth asking for."
  (seq-take numbers (if mailsync-gnus--hurry
                        mailsync-gnus--news-messages-max
                      mailsync-gnus--news-headers-max)))

(defun mailsync-gnus--news-select (group numbers headers)
  "The news among NUMBERS of GROUP, (COUNT . MESSAGES), nil if there are none.
HEADERS is an alist from number to headers, of some of them."
  (let ((count 0)
        (messages nil))
    (dolist (number numbers)
      (let* ((fields (cdr (assq number headers)))
             (id (mailsync-gnus--news-id (cdr (assq 'message-id fields)))))
        (when (mailsync-gnus--news-new-p group id)
          (when id
            (mailsync-gnus--memory-put mailsync-gnus--news-told
                                       (cons group id) t))
          (when (< count mailsync-gnus--news-messages-max)
            (push (mailsync-gnus--news-describe group number fields) messages))
          (cl-incf count))))
    (and (> count 0)
         (cons count (nreverse messages)))))

(defun mailsync-gnus--news-still (group news)
  "What of NEWS of GROUP, (COUNT . MESSAGES), nobody has read meanwhile."
  (pcase-let ((`(,count . ,messages) news))
    (when messages
      (let* ((first (plist-get (car (last messages)) :number))
             (unread (mailsync-gnus--news-numbers group (1- first)))
             (rest (cl-remove-if-not
                    (lambda (message) (memq (plist-get message :number) unread))
                    messages)))
        (and rest
             (cons (- count (- (length messages) (length rest))) rest))))))

(defun mailsync-gnus--news-end (group told)
  "The check of GROUP has ended: return its news, (COUNT . MESSAGES), or nil.
If nobody is TOLD of them, they are kept for the next time."
  (condition-case err
      (mailsync-gnus--news-end-1 group told)
    ;; The check itself was well, whatever a back end does here.
    (error (remhash group mailsync-gnus--news-base)
           (mailsync-log-add 'error "%s: cannot say what arrived: %s"
                             group (error-message-string err))
           nil)))

(defun mailsync-gnus--news-end-1 (group told)
  "Do what `mailsync-gnus--news-end' does, for GROUP and TOLD."
  (let* ((numbers (mailsync-gnus--news-candidates group))
         (news (mailsync-gnus--news-select
                group numbers
                (or (gethash group mailsync-gnus--news-headers)
                    (mailsync-gnus--news-fetch
                     group (mailsync-gnus--news-to-describe numbers)))))
         (left (gethash group mailsync-gnus--news-left)))
    (remhash group mailsync-gnus--news-base)
    (remhash group mailsync-gnus--news-headers)
    (when left
      (setq left (mailsync-gnus--news-still group left)
            news (if (and news left)
                     (cons (+ (car news) (car left))
                           (seq-take (append (cdr news) (cdr left))
                                     mailsync-gnus--news-messages-max))
                   (or news left))))
    (if (or told (null news))
        (remhash group mailsync-gnus--news-left)
      (puthash group news mailsync-gnus--news-left))
    (and told news)))

(defun mailsync-gnus--news-change (change news)
  "CHANGE, of which NEWS came, for `mailsync-new-mail-functions'.
NEWS is a list of (GROUP OLD NEW COUNT . MESSAGES)."
  (append change
          (list :groups (mapcar (lambda (entry) (seq-take entry 3)) news)
                :arrived (mapcar (lambda (entry)
                                   (cons (nth 0 entry) (nth 3 entry)))
                                 news)
                :messages (cl-mapcan (lambda (entry)
                                       (copy-sequence (nthcdr 4 entry)))
                                     news))))

;;;; Coming and going

(defun mailsync-gnus--news-setup ()
  "Begin to note what the user moves."
  (add-hook 'gnus-summary-article-move-hook #'mailsync-gnus--news-note-move))

(defun mailsync-gnus--news-teardown ()
  "Note nothing any more, and forget what was noted."
  (remove-hook 'gnus-summary-article-move-hook #'mailsync-gnus--news-note-move)
  (mailsync-gnus--memory-clear mailsync-gnus--news-told)
  (mailsync-gnus--memory-clear mailsync-gnus--news-moved)
  (mailsync-gnus--news-drop))

(defun mailsync-gnus--news-drop ()
  "Forget the checks that had begun: Gnus is gone."
  (clrhash mailsync-gnus--news-base)
  (clrhash mailsync-gnus--news-headers)
  (clrhash mailsync-gnus--news-left))

(provide 'mailsync-gnus-news)
;;; mailsync-gnus-news.el ends here
